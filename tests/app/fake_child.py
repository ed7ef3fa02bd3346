"""A child for the supervisor's tests: says what it does in a diary, speaks the notify protocol, misbehaves as told.

    python fake_child.py DIARY NAME WORD...

WORDs, in order: ``ready``, ``beat`` (for ever), ``exit-N``, ``silent`` (for ever), ``deaf`` (ignores SIGTERM),
``await-PATH`` (until the file is there).  ``first:WORD`` counts only in the first process of this name.
At SIGHUP it takes a configuration over, or refuses while there is a file DIARY.NAME; with DIARY.NAME.again it refuses
from the second time on.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from earmark.app.lifeline import follow_supervisor
from earmark.app.process import RELOAD_DONE, RELOAD_REFUSED
from earmark.telemetry.notify import notify

_tick = threading.Event()


def write(path: str, line: str) -> None:
    with open(path, "a") as diary:  # noqa: PTH123
        diary.write(line + "\n")


def main(diary: str, name: str, *words: str) -> None:
    def on_term(*_: object) -> None:
        write(diary, f"{name} terminated")
        os._exit(0)

    def on_hup(*_: object) -> None:
        is_second = f"{name} reloads\n" in Path(diary).read_text()
        refuses = Path(f"{diary}.{name}").exists() or (is_second and Path(f"{diary}.{name}.again").exists())
        write(diary, f"{name} {'refuses' if refuses else 'reloads'}")
        notify(f"READY=1\n{RELOAD_REFUSED if refuses else RELOAD_DONE}")

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGHUP, on_hup)
    follow_supervisor()
    is_first = f"{name} started\n" not in Path(diary).read_text()
    write(diary, f"{name} started")
    write(diary, f"{name} pid {os.getpid()}")
    for word in words:
        once, _, rest = word.rpartition(":")
        if once == "first" and not is_first:
            continue
        act(rest, diary, name)


def act(word: str, diary: str, name: str) -> None:
    verb, _, rest = word.partition("-")
    if verb == "ready":
        write(diary, f"{name} ready")  # first: the test may kill this process as soon as it is ready
        notify("READY=1")
    elif verb == "deaf":
        signal.signal(signal.SIGTERM, lambda *_: write(diary, f"{name} deaf"))
    elif verb == "exit":
        write(diary, f"{name} exits")
        os._exit(int(rest))
    elif verb == "await":
        while not Path(rest).exists():
            notify("WATCHDOG=1")
            _tick.wait(0.02)
    elif verb == "silent":
        while True:
            _tick.wait(1)
    elif verb == "beat":
        while True:
            notify("WATCHDOG=1")
            _tick.wait(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
