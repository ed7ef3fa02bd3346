"""From `earmark run CONFIG` to the first hop that its engine has analysed, with one stream that is live at once."""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import print_table, read_values, wait_until
from earmark.app.child import earmark_command
from earmark.telemetry.logs import LEVEL_VARIABLE
from tests.system.processes import running

_STOP_S = 30


def start_once(folder: Path) -> float:
    """Start a service and end it; seconds until its engine has made a model step."""
    with running(folder, {"quiet": {"source": "silence"}}) as machine:
        engine = machine.telemetry["engine"]
        began_s = time.monotonic()
        service = subprocess.Popen(earmark_command("run", str(machine.config)))  # noqa: S603
        try:
            wait_until(lambda: sum(read_values(engine, "earmark_step_seconds_count")), "a model step")
            return time.monotonic() - began_s
        finally:
            service.terminate()
            service.wait(_STOP_S)


def main() -> None:
    """Start it again and again, and print the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    os.environ.setdefault(LEVEL_VARIABLE, "warning")
    times_s: list[float] = []
    for _ in range(parser.parse_args().runs):
        with tempfile.TemporaryDirectory(prefix="earmark-startup-") as folder:
            times_s.append(start_once(Path(folder)))
    told = [f"{seconds:.2f} s" for seconds in (statistics.median(times_s), min(times_s), max(times_s))]
    print_table(
        ("from `earmark run` to", f"median of {len(times_s)}", "least", "most"), [("first hop analysed", *told)]
    )


if __name__ == "__main__":
    main()
