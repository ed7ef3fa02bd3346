"""What the pages show can be used as it stands."""

import re
from pathlib import Path

import pytest

from earmark.app.load import load_service

PAGES = Path(__file__).parents[2] / "docs" / "sinks"


@pytest.mark.parametrize("name", ["webhook.md", "notifications.md"])
def test_every_configuration_on_the_page_is_good(name: str, tmp_path: Path):
    blocks = re.findall(r"^```yaml\n(.*?)^```", (PAGES / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        path = tmp_path / "earmark.yaml"
        path.write_text(block)
        load_service(path, {"TOKEN": "x"})
