"""What a run of the benchmark is about."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from earmark.benchmark.pinning import Cores
from earmark.contracts.bundle import Bundle, load_bundle
from earmark.contracts.errors import ConfigError

SCALE_MFLOP = 42.0
"""Streams are also told as they would be with a network of so many MFLOP a second of audio."""
_ON_THE_CARD = re.compile(r"([\d,]+(?:\.\d+)?) MFLOP a second of audio")
_CARD = "CARD.md"

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What is measured, and how thoroughly.

    Attributes:
        bundle: Name or folder.
        data: Folder of labelled audio, with ``index.csv``; where there is none, the project's own sounds are sent.
        peers: Folder of what other projects' programs need and PyPI does not have.
        quick: Whether to try everything out with hardly any repeats; figures then mean little.
        cores: Who works where.
    """

    bundle: str
    data: Path
    peers: Path
    quick: bool
    cores: Cores

    @classmethod
    def here(cls, bundle: str, data: Path, peers: Path, *, quick: bool) -> Self:
        """On this machine's cores.

        Raises:
            ConfigError: The system cannot keep a process on a core.
        """
        if not hasattr(os, "sched_setaffinity"):
            raise ConfigError("expected a system that keeps a process on one core, as Linux does; measure there")
        return cls(bundle, data, peers, quick, Cores.choose())

    def pick(self, full: T, quick: T) -> T:
        """One of the two."""
        return quick if self.quick else full

    def load(self) -> Bundle:
        """The bundle."""
        return load_bundle(self.bundle)


def hop_s(bundle: Bundle) -> float:
    """Seconds from one score to the next."""
    return bundle.spec.output_hop / bundle.spec.sample_rate_hz


def mflop_per_audio_second(bundle: Bundle) -> float | None:
    """What the bundle's card says that its network costs; None where it has no card or says nothing."""
    try:
        card = (bundle.folder / _CARD).read_text("utf-8")
    except FileNotFoundError:
        return None
    found = _ON_THE_CARD.search(card)
    return None if found is None else float(found[1].replace(",", ""))
