"""Earmark: listens to many microphones and tells when each sound began and ended."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earmark.client import subscribe
    from earmark.contracts.events import SoundEvent
    from engine.detector import Detector

__all__ = ["Detector", "SoundEvent", "subscribe"]

# ONNX Runtime tells its makers what it runs on, unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {"Detector": "engine.detector", "SoundEvent": "earmark.contracts.events", "subscribe": "earmark.client"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a subscriber needs no model, a detector no sockets."""
    if name not in _HOMES:
        raise AttributeError(f"module 'earmark' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
