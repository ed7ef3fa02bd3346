"""Alerts fire when they should and not otherwise, as promtool sees it."""

import re
from pathlib import Path

import pytest
import yaml

from earmark.app.alert_rules import alert_rules
from earmark.app.metric_families import families
from tests.deploy.tools import DEPLOY, run_tool

CASES = Path(__file__).with_name("alerts_test.yaml")
RULES = alert_rules()["groups"][0]["rules"]


def promtool(*arguments: object):
    return run_tool("promtool", *arguments, package="prometheus")


def run_cases(folder: Path, rules: str):
    (folder / "alerts.yaml").write_text(rules)
    (folder / CASES.name).write_text(CASES.read_text())
    return promtool("test", "rules", folder / CASES.name)


def test_prometheus_takes_the_configuration_and_the_rules():
    told = promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yaml")
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{len(RULES)} rules found" in told.stdout


def test_alerts_fire_and_do_not(tmp_path):
    told = run_cases(tmp_path, (DEPLOY / "prometheus" / "alerts.yaml").read_text())
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("instead", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
@pytest.mark.parametrize("name", [rule["alert"] for rule in RULES])
def test_the_cases_would_notice_an_alert_that(tmp_path, name, instead):
    rules = alert_rules()
    (rule,) = (rule for rule in rules["groups"][0]["rules"] if rule["alert"] == name)
    rule |= {"expr": instead, "for": "0m"}
    told = run_cases(tmp_path, yaml.safe_dump(rules))
    assert told.returncode == 1
    assert name in told.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do_in_words_that_can_be_filled_in(rule):
    known = {family.name: family.labels for family in families()} | {"up": ()}
    named = re.findall(r"\b(?:earmark_\w+|up\b)", rule["expr"])
    assert set(named) <= set(known)
    there = {"instance", *(label for name in named for label in known[name])}
    texts = rule["annotations"]
    assert set(texts) == {"summary", "description", "action"}
    assert all(texts.values())
    assert set(re.findall(r"\$labels\.(\w+)", " ".join(texts.values()))) <= there
