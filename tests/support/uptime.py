"""A machine's uptime that a test moves, and reboots."""

from dataclasses import dataclass

from earmark.outbox.elapsed import Uptime


@dataclass
class Machine:
    """Reads like `earmark.outbox.elapsed.read_uptime`."""

    uptime_s: float = 100.0
    n_boots: int = 1

    def __call__(self) -> Uptime:
        return Uptime(f"boot-{self.n_boots}", self.uptime_s)

    def run(self, seconds: float) -> None:
        """Time passes."""
        self.uptime_s += seconds

    def reboot(self, uptime_s: float = 5.0) -> None:
        """It was off for a time that nobody knows."""
        self.n_boots += 1
        self.uptime_s = uptime_s
