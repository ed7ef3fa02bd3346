"""What children left behind."""

from pathlib import Path


class Diary:
    """A file that children append lines to, each in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def count(self, line: str) -> int:
        return self.lines.count(line)
