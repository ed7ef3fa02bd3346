"""The dashboard shows every metric and no other, in expressions that Prometheus understands."""

import json
import re

import pytest
import yaml

from earmark.app.dashboards import dashboard
from earmark.app.metric_families import families
from tests.deploy.tools import DEPLOY, run_tool

PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_metric_and_no_other():
    shown = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\bearmark_\w+", " ".join(EXPRESSIONS))}
    assert shown == {family.name for family in families()}


def test_prometheus_understands_every_expression(tmp_path):
    rules = [
        {"record": f"panel_{number}", "expr": text.replace("$__rate_interval", "1m").replace("$__range", "6h")}
        for number, text in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    told = run_tool("promtool", "check", "rules", path, package="prometheus")
    assert told.returncode == 0, told.stdout + told.stderr


def test_rows_are_in_order_and_hold_their_panels():
    rows = {row["title"]: row["gridPos"]["y"] for row in dashboard()["panels"] if row["type"] == "row"}
    assert list(rows) == ["Service", "Streams", "Engine", "Sinks"]
    tops = {panel["title"]: panel["gridPos"]["y"] for panel in PANELS}
    assert rows["Streams"] < tops["gaps per minute"] < rows["Engine"]
    assert rows["Engine"] < tops["events per minute"] < rows["Sinks"] < tops["sink depth events"]


def test_panels_do_not_overlap_and_have_numbers_of_their_own():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("name", ["instance", "stream"])
def test_what_is_chosen_narrows_the_panels(name):
    assert name in {variable["name"] for variable in dashboard()["templating"]["list"]}
    by_stream = {family.name for family in families() if "stream" in family.labels}
    for expression in EXPRESSIONS:
        if name == "instance" or any(re.search(rf"\b{metric}\b", expression) for metric in by_stream):
            assert f'{name}=~"${name}"' in expression


def test_grafana_finds_the_dashboard_where_it_is_told_to_look():
    folder = DEPLOY / "grafana" / "provisioning"
    provider = yaml.safe_load((folder / "dashboards" / "earmark.yaml").read_text())["providers"][0]
    mounts = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    inside = dict(mount.rsplit(":", 1)[0].split(":") for mount in mounts if mount.endswith(":ro"))
    assert inside["../grafana/earmark.json"].rpartition("/")[0] == provider["options"]["path"]
    assert json.loads((DEPLOY / "grafana" / "earmark.json").read_text())["uid"] == "earmark"
