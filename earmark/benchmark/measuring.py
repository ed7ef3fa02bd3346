"""How to look at a running process: its own pages, its memory, a condition with a deadline; medians and spreads."""

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from statistics import median
from typing import Any

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
    except (OSError, HTTPException):
        return 0, ""


def read_values(address: str, metric: str, **labels: str) -> list[float]:
    """The samples of a metric, as it stands on the page, that have these labels; empty while nobody answers."""
    parse: Any = text_string_to_metric_families
    return [
        sample.value
        for family in parse(read_page(address)[1])
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


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has spent so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def summarise(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Median, least and most of repeated measurements, which are one at least."""
    return {
        "median": round(median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def cpu_seconds_a_call(call: Callable[[], object], least_s: float) -> float:
    """Processor seconds of one call, of as many as take ``least_s`` together; one more warms up before."""
    call()
    n_calls, began_s = 0, time.process_time()
    while (spent_s := time.process_time() - began_s) < least_s:
        call()
        n_calls += 1
    return spent_s / n_calls
