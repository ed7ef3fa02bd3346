"""Every error that Earmark raises on purpose.

    EarmarkError
    ├── ConfigError        a configuration, a command's argument or an address that cannot be used
    │   └── AddressNotReadyError    an address of an interface that is not up yet; worth another attempt
    ├── BundleError        a model bundle that does not hold together
    ├── SourceError        a source of audio that cannot be opened or read
    ├── WireError          bytes that are no Earmark message
    ├── ShapeError         an array of another shape than a contract states
    ├── GpuError           no GPU that can be used, or one that failed
    └── OutboxError        the durable log cannot be opened, read or written
        ├── OutboxFullError         no room, or locked for long; the same commit may be tried again
        └── UnreadableEventError    an event that another release wrote

A message says what was expected, what came, where, and what to do. Foreign exceptions are wrapped where they
enter. The command line prints an `EarmarkError` as one line and exits with 2; anything else is a bug.
"""


class EarmarkError(Exception):
    """Something that the user, a peer or the machine did, with what to do about it."""


class ConfigError(EarmarkError, ValueError):
    """A configuration, argument or address that cannot be used. Raised in a section's validator, pydantic places it."""


class AddressNotReadyError(ConfigError):
    """An address that this machine does not have now: its interface may come up later, as at boot."""


class BundleError(EarmarkError):
    """A model bundle that does not hold together."""


class SourceError(EarmarkError):
    """A source of audio that cannot be opened or read."""


class WireError(EarmarkError):
    """Bytes that are no Earmark message. ``reason`` is a short word for the metric."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ShapeError(EarmarkError):
    """An array of another shape than a contract states."""


class GpuError(EarmarkError):
    """No GPU or no TensorRT that can be used, or a GPU that failed or is full."""


class OutboxError(EarmarkError):
    """The durable log cannot be opened, read or written."""


class OutboxFullError(OutboxError):
    """The disk has no room, or another process holds the file. The same commit may be tried again."""


class UnreadableEventError(OutboxError):
    """An event in the outbox that this release cannot read; ``seq`` is its place there."""

    def __init__(self, seq: int, message: str) -> None:
        super().__init__(message)
        self.seq = seq
