"""A soak: many hours of sound through the real service, watched from outside all the time.

``fast`` sends them as fast as they are taken. ``faults`` goes in real time, and kills a process (SIGKILL) now and then.

All streams hear the same recording again and again. It lasts a whole number of the model's windows, so what is decided
in one round must be decided in every other, to the sample. The first round has no window before it and may differ.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.bench_hour import RATE_HZ, scenes
from benchmarks.measuring import print_table, read_page, read_values, wait_until
from benchmarks.watching import COMMANDS, Decided, Look, Watch, draw
from earmark.app.child import earmark_command
from earmark.telemetry.logs import LEVEL_VARIABLE
from tests.system.processes import Machine, write_wav

ROUND_S = 600
_LOOK_EVERY_S = 5.0
_OUTBOX_MB = 64
_CALM_S = (10.0, 40.0)
"""Between a process that is back and the next one that is killed."""
_UNDECIDED_S = 10
"""So much of an epoch's end may still be undecided: a class's longest gap, and what was on its way."""
_STOP_S = 60.0


@dataclass
class Course:
    """What was seen of a run.

    Attributes:
        audio_s: Seconds of audio of all streams that were analysed.
        wall_s: How long it took.
        looks: In order.
        decided: What it told.
        killed: By when, the process that was killed.
        away_s: How long each was away, until all were ready again.
        gaps: In the end, since the engine last started.
        refused: The same of records.
        told: Numbers of the events that a subscriber got, in their order; none in a fast run, which has none.
    """

    audio_s: float = 0.0
    wall_s: float = 0.0
    looks: list[Look] = field(default_factory=list[Look])
    decided: Decided = field(default_factory=Decided)
    killed: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    away_s: list[float] = field(default_factory=list[float])
    gaps: float = 0.0
    refused: float = 0.0
    told: list[int] = field(default_factory=list[int])


class Service:
    """``earmark run`` over files that loop, and what is seen of it."""

    def __init__(self, machine: Machine, process: "subprocess.Popen[bytes]") -> None:
        self.machine = machine
        self.watch = Watch(machine, process.pid, RATE_HZ)
        self.course = Course()
        self._began_s = time.monotonic()

    @property
    def at_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began_s

    def look(self) -> None:
        """Look at it once, and at what it has decided."""
        course = self.course
        course.looks.append(self.watch.look(self.at_s))
        course.decided.read(self.machine.outbox)
        course.wall_s = self.at_s

    def wait_until_ready(self) -> None:
        """Wait until all three processes say so."""
        for name, address in self.machine.telemetry.items():
            wait_until(lambda address=address: read_page(address, "readyz")[0] == 200, f"{name} to be ready")

    def note_end(self) -> None:
        """Look a last time, and note what stands in the end."""
        self.look()
        engine = self.machine.telemetry["engine"]
        self.course.audio_s = self.course.looks[-1].audio_s
        self.course.gaps = sum(read_values(engine, "earmark_gaps_total"))
        self.course.refused = sum(read_values(engine, "earmark_refused_records_total"))


@contextmanager
def serving(folder: Path, n_streams: int, pace: str, bundle: str | Path) -> Generator[Service]:
    """The service, ready; ended at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    recording = write_wav(folder / "recording.wav", scenes(ROUND_S))
    source = {"source": "file", "path": str(recording), "pace": pace, "loop": True}
    machine = Machine(
        folder,
        {f"stream-{index}": source for index in range(n_streams)},
        bundle=bundle,
        outbox={"max_size_mb": _OUTBOX_MB},
    )
    process = subprocess.Popen(earmark_command("run", str(machine.config)))  # noqa: S603 -- our own command line
    try:
        service = Service(machine, process)
        service.wait_until_ready()
        yield service
    finally:
        process.terminate()
        process.wait(_STOP_S)
        machine.close()


def run_fast(
    folder: Path, n_streams: int, audio_s: float, bundle: str | Path = "urban", most_s: float = math.inf
) -> Course:
    """So much audio of each stream, as fast as it goes, but no longer than ``most_s``."""
    tick = threading.Event()
    with serving(folder, n_streams, "fast", bundle) as service:
        looks = service.course.looks
        while not looks or (looks[-1].audio_s < n_streams * audio_s and service.at_s < most_s):
            service.look()
            tick.wait(min(_LOOK_EVERY_S, audio_s / 100))
        service.note_end()
    return service.course


def run_faults(folder: Path, n_streams: int, duration_s: float, seed: int, bundle: str | Path = "urban") -> Course:
    """So long in real time, with a subscriber; a process that `seed` chooses is killed when all have been well."""
    chance = random.Random(seed)  # noqa: S311 -- no secret
    tick = threading.Event()
    with serving(folder, n_streams, "realtime", bundle) as service:
        course = service.course
        subscriber = service.machine.subscribe("--since", "0")
        due_s = chance.uniform(*_CALM_S)
        while service.at_s < duration_s:
            service.look()
            tick.wait(max(0.0, min(_LOOK_EVERY_S, due_s - service.at_s)))
            if service.at_s >= due_s:
                _kill_one(service, chance)
                due_s = service.at_s + chance.uniform(*_CALM_S)
        service.note_end()
        newest = course.decided.newest
        subscriber.wait_for(lambda events: events and events[-1]["seq"] >= newest)
        course.told = [event["seq"] for event in subscriber.events if event["seq"] <= newest]
    return course


def _kill_one(service: Service, chance: random.Random) -> None:
    name = chance.choice(sorted(COMMANDS))
    restarts = "earmark_process_restarts_total"
    address = service.machine.telemetry["supervisor"]
    before = sum(read_values(address, restarts, process=name))
    began_s = service.at_s
    service.course.killed.append((round(began_s, 1), name))
    os.kill(service.watch.pids()[name], signal.SIGKILL)
    wait_until(lambda: sum(read_values(address, restarts, process=name)) > before, f"another {name}")
    service.wait_until_ready()
    service.course.away_s.append(round(service.at_s - began_s, 2))


def differing(course: Course) -> tuple[int, int]:
    """How many events are of one round and not of the second one of their stream, and how many events were compared.

    The last round is not over, and the first one has its own beginning.
    """
    n_samples, n_different, n_compared = ROUND_S * RATE_HZ, 0, 0
    for _, rounds in course.decided.rounds(n_samples):
        for one in rounds[2:-1]:
            n_different += len(one ^ rounds[1])
            n_compared += len(one)
    return n_different, n_compared


def events_by_hour(course: Course) -> list[int]:
    """Events of each whole hour of sound, the first without its first round made up by its second."""
    hours: list[int] = []
    a_hour = 3600 // ROUND_S
    for _, rounds in course.decided.rounds(ROUND_S * RATE_HZ):
        whole = rounds[1:-1]
        for hour in range(len(whole) // a_hour):
            hours += [0] * (hour + 1 - len(hours))
            hours[hour] += sum(map(len, whole[hour * a_hour : (hour + 1) * a_hour]))
    return hours


def unlike(course: Course, undisturbed: Course) -> tuple[int, int, int]:
    """Events that the undisturbed run has not, those of it that are missing, and how many were compared.

    Both runs' epochs begin with the recording, so the same must be decided at the same samples.
    """
    expected = {stream: set(extents) for (stream, _), extents in undisturbed.decided.extents.items()}
    n_strange = n_missing = n_compared = 0
    for (stream, _), extents in course.decided.extents.items():
        got = set(extents)
        until = max(offset for _, _, offset in extents) - _UNDECIDED_S * RATE_HZ
        due = {extent for extent in expected[stream] if extent[2] <= until}
        n_strange += len(got - expected[stream]) + len(extents) - len(got)
        n_missing += len(due - got)
        n_compared += len(extents)
    return n_strange, n_missing, n_compared


def _grown(course: Course) -> list[tuple[str, str]]:
    """Rows of a table: what each process held once warm, at the most, and in the end."""
    warm = course.looks[len(course.looks) // 10 :]
    rows: list[tuple[str, str]] = []
    for name, unit in (("resident_mb", " MiB"), ("descriptors", " open files"), ("threads", " threads")):
        for process in ("supervisor", *COMMANDS):
            values = [seen[process] for look in warm if process in (seen := getattr(look, name))]
            rows.append((f"{process},{unit}", f"{values[0]:g} / {max(values):g} / {values[-1]:g}"))
    sizes = [look.outbox_mb for look in warm]
    rows.append(("outbox, MiB", f"{sizes[0]:g} / {max(sizes):g} / {sizes[-1]:g}"))
    return rows


def _report(kind: str, course: Course, rows: list[tuple[str, str]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    seen = {"killed": course.killed, "away_s": course.away_s, "looks": [asdict(look) for look in course.looks]}
    (out / f"reliability-{kind}.json").write_text(json.dumps(seen), encoding="utf-8")
    title = f"{course.audio_s / 3600:.1f} hours of audio in {course.wall_s / 60:.0f} min"
    if course.killed:
        title += f", {len(course.killed)} processes killed"
    (out / f"reliability-{kind}.png").write_bytes(draw(course.looks, [at_s for at_s, _ in course.killed], title))
    common = [
        ("audio of all streams", f"{course.audio_s / 3600:.1f} h in {course.wall_s / 60:.1f} min"),
        ("events and their ends in the outbox's count", f"{course.decided.newest}"),
        ("numbers that nobody read", f"{course.decided.n_missing}"),
        ("gaps", f"{course.gaps:g}"),
        ("records refused, after restarts as repeated or out of turn", f"{course.refused:g}"),
    ]
    print_table(("soak, " + kind, "after a tenth / most / last"), [*common, *rows, *_grown(course)])


def main() -> None:
    """Run one kind and print what was seen; exit with 1 where it is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("fast", "faults"))
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--hours", type=float, default=24.0, help="fast: audio of each stream")
    parser.add_argument("--minutes", type=float, help="faults: how long, by default 30; fast: how long at most")
    parser.add_argument("--seed", type=int, default=0, help="faults: of who is killed, and when")
    parser.add_argument("--out", type=Path, default=Path("runs/soak"), help="folder for what was seen")
    options = parser.parse_args()
    os.environ.setdefault(LEVEL_VARIABLE, "error")
    with tempfile.TemporaryDirectory(prefix="earmark-soak-") as folder:
        if options.kind == "fast":
            most_s = math.inf if options.minutes is None else 60 * options.minutes
            course = run_fast(Path(folder), options.streams, 3600 * options.hours, most_s=most_s)
            n_wrong, n_compared = differing(course)
            hours = events_by_hour(course)
            rows = [
                (
                    "events of a round that its second round has not, or the other way round",
                    f"{n_wrong} of {n_compared}",
                ),
                ("events an hour, least and most", f"{min(hours, default=0)} to {max(hours, default=0)}"),
            ]
        else:
            duration_s = 60 * (options.minutes or 30.0)
            course = run_faults(Path(folder) / "faults", options.streams, duration_s, options.seed)
            undisturbed = run_fast(Path(folder) / "undisturbed", options.streams, course.decided.longest_s(RATE_HZ))
            n_strange, n_missing, n_compared = unlike(course, undisturbed)
            n_untold = len(set(range(1, course.decided.newest + 1)) ^ set(course.told))
            n_twice = len(course.told) - len(set(course.told))
            n_wrong = n_strange + n_missing + n_untold + n_twice
            killed = ", ".join(f"{name} {sum(n == name for _, n in course.killed)}" for name in COMMANDS)
            rows = [
                ("killed", killed),
                ("until all were ready again", f"{max(course.away_s, default=0):g} s at most"),
                ("events that an undisturbed run has not, or more than once", f"{n_strange} of {n_compared}"),
                ("events of an undisturbed run that are missing", f"{n_missing}"),
                ("events that the subscriber did not get, and got twice", f"{n_untold} and {n_twice}"),
            ]
    _report(options.kind, course, rows, options.out)
    if n_wrong:
        sys.exit(f"{n_wrong} events are not what they must be")


if __name__ == "__main__":
    main()
