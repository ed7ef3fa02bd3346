"""What the page about this sink says can be typed."""

import re
from pathlib import Path

import yaml

from earmark.app.config import ServiceConfig
from publishers.http.app import openapi_document

PAGE = (Path(__file__).parents[3] / "docs/sinks/http.md").read_text()


def test_its_configurations_load():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        http = ServiceConfig.model_validate(yaml.safe_load(block)).publishers.http
        assert http is not None
        assert http.bind.endswith(":7713")


def test_its_table_has_every_path():
    assert set(re.findall(r"`(/[^` ?]+)`", PAGE.partition("`/openapi.json`")[0])) >= set(openapi_document()["paths"])
