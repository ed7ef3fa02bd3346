"""What the scripts share: how to look at a process, as `earmark.benchmark` does, and a table in the end."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from earmark.benchmark.measuring import read_page, read_values, resident_mb, wait_until
from earmark.benchmark.tables import Table, markdown

__all__ = ["print_table", "read_page", "read_values", "resident_mb", "wait_until"]


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, below the command that made it and how busy the machine was."""
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    print(f"`{command}` ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})\n")
    print(f"{markdown(Table(header, rows))}\n", flush=True)
