"""What the benchmarks share: a process's own pages, its memory, and a table in the end."""

import os
import shlex
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

_TICK_S = 0.02


def read_page(address: str, name: str = "metrics") -> tuple[int, str]:
    """A page of a process.

    Args:
        address: ``host:port`` of its telemetry.
        name: ``metrics``, ``healthz`` or ``readyz``.

    Returns:
        Status and text; status 0 while nobody answers.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/{name}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def read_values(address: str, metric: str, **labels: str) -> list[float]:
    """The samples of a metric, as it stands on the page, that have these labels; empty while nobody answers."""
    return [
        sample.value
        for family in text_string_to_metric_families(read_page(address)[1])
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    ]


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = 60.0) -> None:
    """Look every few milliseconds until ``condition`` holds.

    Raises:
        TimeoutError: It did not in time.
    """
    give_up_s = time.monotonic() + deadline_s
    tick = threading.Event()
    while not condition():
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"expected {what} within {deadline_s:g} s")
        tick.wait(_TICK_S)


def resident_mb(pid: int) -> float | None:
    """What a process holds in memory now (VmRSS), in MiB; None once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), None)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, below the command that made it and how busy the machine was."""
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    print(f"`{command}` ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})\n")
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    print(flush=True)
