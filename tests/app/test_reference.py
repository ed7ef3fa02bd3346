"""The generated pages say what the code does."""

from pathlib import Path

import pytest

from earmark.app.reference import pages

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_is_what_the_code_says(name):
    assert (ROOT / name).read_text(encoding="utf-8") == pages()[name], "run make reference"


def test_every_key_is_on_the_page():
    page = pages()["docs/configuration.md"]
    for key in ("ring_s", "onset_threshold", "max_fill_s", "history_bind", "rtsp_transport", "max_age_days"):
        assert f"| `{key}` |" in page


def test_overrides_are_called_by_where_they_stand_and_told_in_full():
    page = pages()["docs/configuration.md"]
    _, _, section = page.partition("### streams.NAME.labels.LABEL\n")
    rows = [line for line in section.partition("\n#")[0].splitlines() if line.startswith("| `")]
    assert len(rows) == 5
    assert all(row.split("|")[-2].strip() for row in rows)
    assert "silences" in rows[0]
