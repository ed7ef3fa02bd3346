"""The faults. Each begins, lasts as long as its schedule says, and ends; none knows what should follow from it."""

import contextlib
import os
import random
import resource
import signal
from abc import ABC, abstractmethod
from pathlib import Path

from earmark.chaos.lab import Lab, limit
from earmark.chaos.schedule import Fault
from earmark.contracts.streams import AudioBlock
from earmark.contracts.wire import encode_records

_DAY_S = 86_400
_BLOCK = 4096


class Active(ABC):
    """A fault at work.

    Args:
        lab: What it hits.
        fault: What is to be done.
    """

    def __init__(self, lab: Lab, fault: Fault) -> None:
        self.lab = lab
        self.fault = fault
        self.pids = [
            pid for target in fault.targets if (pid := lab.pids().get(lab.pick(target, fault.chance))) is not None
        ]

    @abstractmethod
    def begin(self) -> None:
        """Break it."""

    def end(self) -> None:  # noqa: B027 -- what is over at once has no end
        """Mend it."""

    @staticmethod
    def impossible(lab: Lab) -> str:
        """Why it cannot be done here; empty where it can."""
        del lab
        return ""

    def signal(self, number: signal.Signals) -> None:
        """To all that it hits and that still live."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class Kill(Active):
    """SIGKILL."""

    def begin(self) -> None:
        """All at once."""
        self.signal(signal.SIGKILL)


class Terminate(Active):
    """SIGTERM: a restart that nobody announced to the supervisor."""

    def begin(self) -> None:
        """All at once."""
        self.signal(signal.SIGTERM)


class Stop(Active):
    """SIGSTOP, later SIGCONT."""

    def begin(self) -> None:
        """Put to sleep."""
        self.signal(signal.SIGSTOP)

    def end(self) -> None:
        """Wake up."""
        self.signal(signal.SIGCONT)


class Power(Active):
    """Everything dies at once, and is started again."""

    def begin(self) -> None:
        """Off and on."""
        self.lab.switch_off()


class Reset(Active):
    """Every connection between streamer and engines breaks: what was on its way is lost."""

    def begin(self) -> None:
        """Break them."""
        for proxy in self.lab.proxies:
            proxy.reset()


class Cut(Active):
    """No connection between streamer and engines, and no new one."""

    def begin(self) -> None:
        """Break and refuse."""
        for proxy in self.lab.proxies:
            proxy.is_cut = True
            proxy.reset()

    def end(self) -> None:
        """Let in again."""
        for proxy in self.lab.proxies:
            proxy.is_cut = False


class Stuck(Active):
    """Connections live, and nothing comes through."""

    def begin(self) -> None:
        """Hold everything back."""
        for proxy in self.lab.proxies:
            proxy.is_stuck = True

    def end(self) -> None:
        """Let it go."""
        for proxy in self.lab.proxies:
            proxy.is_stuck = False


class Delay(Active):
    """Everything between streamer and engines takes up to 0.3 s longer, and the line carries less."""

    def begin(self) -> None:
        """Slow down."""
        for proxy in self.lab.proxies:
            proxy.delay_s = 0.01 + 0.29 * self.fault.chance

    def end(self) -> None:
        """As before."""
        for proxy in self.lab.proxies:
            proxy.delay_s = 0.0


class OfTheDisk(Active):
    """Needs a disk of its own."""

    @staticmethod
    def impossible(lab: Lab) -> str:
        """Only root can mount one."""
        return "" if lab.has_disk else "a small disk can be mounted by root alone"


class DiskFull(OfTheDisk):
    """Not a byte is left where the outbox, the cursors and the events' file are."""

    def begin(self) -> None:
        """Fill it."""
        self.lab.fill_disk()

    def end(self) -> None:
        """Free it."""
        self.lab.free_disk()


class DiskReadOnly(OfTheDisk):
    """The disk cannot be written, and an engine that is killed meanwhile finds it so."""

    def begin(self) -> None:
        """Protect it, then kill whoever has files open on it."""
        self.lab.protect_disk()
        for name, pid in self.lab.pids().items():
            if name == self.lab.pick("engine", self.fault.chance):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Allow writing."""
        self.lab.release_disk()


class ClockStep(Active):
    """The wall clock steps, by seconds or by days, forth or back, and later back to the truth."""

    @staticmethod
    def impossible(lab: Lab) -> str:
        """The clock is a library that must be compiled."""
        return "" if lab.clock is not None else "a clock that steps needs gcc"

    def begin(self) -> None:
        """Step."""
        chance = random.Random(self.fault.chance)  # noqa: S311
        step_s = round(_DAY_S * chance.uniform(-5, 5) ** 3 / 125) or 2
        if self.lab.clock is not None:
            self.lab.clock.set(step_s)

    def end(self) -> None:
        """Step back."""
        if self.lab.clock is not None:
            self.lab.clock.set(0)


class Limited(Active):
    """A soft limit of live processes that is reached at once."""

    what: int

    def begin(self) -> None:
        """Allow no more than what is in use."""
        self._before: list[tuple[int, int]] = []
        for pid in self.pids:
            with contextlib.suppress(OSError):
                self._before.append((pid, limit(pid, self.what, self.in_use(pid))))

    def end(self) -> None:
        """As before, where they still live."""
        for pid, before in self._before:
            with contextlib.suppress(OSError):
                limit(pid, self.what, before)

    @staticmethod
    @abstractmethod
    def in_use(pid: int) -> int:
        """How much of it a process has."""


class Descriptors(Limited):
    """No file, no socket can be opened, and connections break so that new ones are needed."""

    what = resource.RLIMIT_NOFILE

    @staticmethod
    def in_use(pid: int) -> int:
        """One above the highest; a process that has just died has none."""
        return 1 + max((int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()), default=0)

    def begin(self) -> None:
        """Limit, then break connections."""
        super().begin()
        for proxy in self.lab.proxies:
            proxy.reset()


class Memory(Limited):
    """No more memory than the process has now: it goes on, or dies and is started again."""

    what = resource.RLIMIT_AS

    @staticmethod
    def in_use(pid: int) -> int:
        """Its address space; a process that has just died has none."""
        status = Path(f"/proc/{pid}/status").read_text("ascii")
        sizes = (int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize:"))
        return next(sizes, 0)


class Foreign(Active):
    """Bytes that no streamer sends: another protocol's, noise, messages of a release to come, cut and corrupt ones."""

    def begin(self) -> None:
        """One of each to an engine."""
        chance = random.Random(self.fault.chance)  # noqa: S311
        good = encode_records([_block(self.lab, next(iter(self.lab.staging.sounds)), 1, 0)])
        corrupt = bytearray(good)
        corrupt[8] ^= 0x80  # the first letter of the stream's name
        for message in (
            b"GET / HTTP/1.1\r\n\r\n",
            chance.randbytes(chance.randrange(1, 3000)),
            good[:4] + b"\xff\xff" + good[6:],
            good[: chance.randrange(9, len(good))],
            bytes(corrupt),
        ):
            self.lab.send_bad(int(self.fault.chance * len(self.lab.proxies)), message)


class Repeated(Active):
    """Blocks that were sent before come again, of the running epoch and of those that are over."""

    def begin(self) -> None:
        """A few of each stream, to every engine: one of them is not its home."""
        chance = random.Random(self.fault.chance)  # noqa: S311
        epochs = self.lab.epochs()
        for name, pcm in self.lab.staging.sounds.items():
            for epoch in epochs.get(name, []):
                end = self._decided(name, epoch, len(pcm))
                if end < _BLOCK:
                    continue
                first = chance.randrange(0, end - _BLOCK + 1)
                self.lab.send_home(name, encode_records([_block(self.lab, name, epoch, first)] * 2))

    def _decided(self, name: str, epoch: int, length: int) -> int:
        """How much of an epoch was certainly sent."""
        with contextlib.suppress(Exception):
            stored = self.lab.outbox.load(name).checkpoint
            if stored is not None and stored.epoch == epoch:
                return stored.decided_sample
            return min(length, self.lab.outbox.retired_end(name, epoch) or 0)
        return 0


def _block(lab: Lab, name: str, epoch: int, first: int) -> AudioBlock:
    """A block of a scene as its streamer sends it."""
    pcm = lab.staging.sounds[name]
    return AudioBlock(
        stream=name,
        epoch=epoch,
        first_sample=first,
        captured_at_ns=0,
        sample_rate_hz=lab.staging.service.bundle.spec.sample_rate_hz,
        newest_sample=len(pcm),
        pcm=pcm[first : first + _BLOCK],
        can_wait=True,
    )


FAULTS: dict[str, type[Active]] = {
    "kill": Kill,
    "terminate": Terminate,
    "stop": Stop,
    "power": Power,
    "reset": Reset,
    "cut": Cut,
    "stuck": Stuck,
    "delay": Delay,
    "disk_full": DiskFull,
    "disk_read_only": DiskReadOnly,
    "clock": ClockStep,
    "descriptors": Descriptors,
    "memory": Memory,
    "foreign": Foreign,
    "repeated": Repeated,
}
