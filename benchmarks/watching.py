"""What `benchmarks.soak` sees of a service from outside: its processes, its outbox, its delay, and what it decided."""

import io
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.figure import Figure

from benchmarks.measuring import read_values, resident_mb
from earmark.outbox import OutboxReader
from tests.system.processes import Machine

COMMANDS = {"streamer": "stream", "engine": "engine", "publishers": "publish"}
_PAGE = 10_000
Extent: TypeAlias = tuple[str, int, int]
"""Label, onset and offset."""


@dataclass(frozen=True)
class Look:
    """What was seen at one moment; by process where it says so, those that were there.

    Attributes:
        at_s: Since the beginning.
        audio_s: Analysed since the beginning, of all streams together, whichever engine it was.
        resident_mb: By process.
        descriptors: By process.
        threads: By process.
        outbox_mb: The database with its write-ahead log.
        delay_ms: Mean since the look before, from an event's last needed sample to its commit; None without events.
    """

    at_s: float
    audio_s: float
    resident_mb: dict[str, float]
    descriptors: dict[str, int]
    threads: dict[str, int]
    outbox_mb: float
    delay_ms: float | None


class Watch:
    """Looks at ``earmark run`` over a machine's configuration.

    Args:
        machine: Whose configuration it is.
        supervisor: Its process.
        rate_hz: Of the audio.
    """

    def __init__(self, machine: Machine, supervisor: int, rate_hz: int) -> None:
        self._machine = machine
        self._supervisor = supervisor
        self._rate_hz = rate_hz
        self._delays = (0.0, 0.0)
        self._analysed = self._all_analysed = 0.0

    def pids(self) -> dict[str, int]:
        """Of the supervisor and of its children that there are."""
        names = {command: name for name, command in COMMANDS.items()}
        found = {"supervisor": self._supervisor}
        for child in _read(f"/proc/{self._supervisor}/task/{self._supervisor}/children").split():
            words = _read(f"/proc/{child}/cmdline").split("\0")
            found |= {names[word]: int(child) for word in words if word in names}
        return found

    def look(self, at_s: float) -> Look:
        """Look once."""
        pids = self.pids()
        engine = self._machine.telemetry["engine"]
        outbox = self._machine.outbox
        files = [outbox, *(outbox.with_name(outbox.name + end) for end in ("-wal", "-shm"))]
        return Look(
            at_s=round(at_s, 1),
            audio_s=self._audio_s(engine),
            resident_mb={name: round(mb, 1) for name, pid in pids.items() if (mb := resident_mb(pid))},
            descriptors={name: n for name, pid in pids.items() if (n := _count_descriptors(pid))},
            threads={name: n for name, pid in pids.items() if (n := _count_threads(pid))},
            outbox_mb=round(sum(file.stat().st_size for file in files if file.exists()) / 2**20, 2),
            delay_ms=self._delay_ms(engine),
        )

    def _audio_s(self, engine: str) -> float:
        if values := read_values(engine, "earmark_analysed_samples_total"):
            analysed = sum(values)
            self._all_analysed += analysed - (self._analysed if analysed >= self._analysed else 0.0)
            self._analysed = analysed
        return self._all_analysed / self._rate_hz

    def _delay_ms(self, engine: str) -> float | None:
        seconds, n = (sum(read_values(engine, f"earmark_delay_seconds_{what}")) for what in ("sum", "count"))
        before_s, n_before = self._delays if n >= self._delays[1] else (0.0, 0.0)
        self._delays = (seconds, n)
        return round(1000 * (seconds - before_s) / (n - n_before), 2) if n > n_before else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _count_descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 -- a process that ends raises here, not later
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _count_threads(pid: int) -> int:
    lines = _read(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Threads:")), 0)


@dataclass
class Decided:
    """The events that ended because the sound did, by stream and epoch, as they come into the outbox.

    Attributes:
        extents: In the order of decision.
        newest: Highest ``seq`` that was read.
        n_missing: Numbers that were not there.
    """

    extents: dict[tuple[str, str], list[Extent]] = field(default_factory=lambda: defaultdict(list))
    newest: int = 0
    n_missing: int = 0

    def read(self, outbox: Path) -> None:
        """Take what is new."""
        reader = OutboxReader(outbox)
        try:
            while page := reader.read(self.newest, _PAGE):
                self.n_missing += page[-1].seq - self.newest - len(page)
                self.newest = page[-1].seq
                for event in (stored.event for stored in page):
                    if event.offset_sample is not None and event.reason is None:
                        extent = (event.label, event.onset_sample, event.offset_sample)
                        self.extents[event.stream, event.epoch].append(extent)
        finally:
            reader.close()

    def longest_s(self, rate_hz: int) -> float:
        """Up to where the longest epoch was decided on."""
        return max((offset for extents in self.extents.values() for _, _, offset in extents), default=0) / rate_hz

    def rounds(self, n_samples: int) -> Iterator[tuple[str, list[set[Extent]]]]:
        """Each epoch's stream and events, by the round of ``n_samples`` that they began in, counted from its start."""
        for (stream, _), extents in self.extents.items():
            rounds = [set[Extent]() for _ in range(1 + max((onset for _, onset, _ in extents), default=0) // n_samples)]
            for label, onset, offset in extents:
                index, place = divmod(onset, n_samples)
                rounds[index].add((label, place, offset - onset))
            yield stream, rounds


def draw(looks: Sequence[Look], blows: Sequence[float], title: str) -> bytes:
    """A picture of all that was seen, as PNG; ``blows`` are the moments at which a process was killed."""
    figure: Any = Figure(figsize=(8, 11), layout="constrained")
    panels = figure.subplots(5, 1, sharex=True)
    minutes = [look.at_s / 60 for look in looks]
    for axes, (name, unit) in zip(
        panels, (("resident_mb", "MiB"), ("descriptors", "open files"), ("threads", "threads")), strict=False
    ):
        for process in ("supervisor", *COMMANDS):
            values = [getattr(look, name).get(process, float("nan")) for look in looks]
            axes.plot(minutes, values, label=process, linewidth=1)
        axes.set_ylabel(unit)
    panels[0].legend(ncols=4, fontsize=8)
    panels[3].plot(minutes, [look.outbox_mb for look in looks], linewidth=1)
    panels[3].set_ylabel("outbox, MiB")
    delays = [float("nan") if look.delay_ms is None else look.delay_ms for look in looks]
    panels[4].plot(minutes, delays, ".", markersize=3)
    panels[4].set_ylabel("delay, ms (mean)")
    for axes in panels:
        axes.set_ylim(0)
        axes.grid(alpha=0.3)
        for at_s in blows:
            axes.axvline(at_s / 60, color="#d97706", alpha=0.3, linewidth=0.7)
    panels[0].set_title(title)
    panels[-1].set_xlabel("minutes")
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=100, metadata={"Software": None})
    return written.getvalue()
