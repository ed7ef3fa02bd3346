"""What the tables of failures say is proved names tests that exist."""

import re
from pathlib import Path

import pytest

from earmark.chaos.schedule import KINDS

ROOT = Path(__file__).parents[2]
TABLES = ("docs/reliability.md", "ARCHITECTURE.md")


def rows(document):
    """Of the section's table: its cells."""
    section = (ROOT / document).read_text("utf-8").split("## When something fails")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


@pytest.mark.parametrize("document", TABLES)
def test_every_row_names_tests_that_exist(document):
    assert len(rows(document)) >= 8
    for what, _, proof in rows(document):
        names = re.findall(r"`(tests/[^`]+)`", proof)
        assert names, what
        for name in names:
            path, _, test = name.partition("::")
            assert (ROOT / path).exists(), name
            assert not test or f"def {test}(" in (ROOT / path).read_text("utf-8"), name


def test_every_kind_of_fault_is_explained():
    laboratory = (ROOT / "docs/reliability.md").read_text("utf-8").split("## The laboratory")[1]
    first_cells = re.findall(r"^\| (`.*?) \|", laboratory, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) >= set(KINDS)
