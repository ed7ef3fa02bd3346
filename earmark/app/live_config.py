"""The configuration of what runs: which part of a changed file it takes over, and which needs a restart."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import yaml

from earmark.app.config import ServiceConfig
from earmark.app.config_file import Document
from earmark.app.load import config_in, open_document
from earmark.app.ports import taken_addresses
from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError

RELOADABLE = (
    ("streams",),
    ("publishers", "jsonl"),
    ("publishers", "mqtt"),
    ("publishers", "webhooks"),
    ("publishers", "notifications"),
    ("telemetry", "log_level"),
)
"""What a process takes over while it runs. All else is bound, allocated or loaded when it starts."""

_SECOND_SERVICE = "another `earmark run` may be up: stop it, or give this one other ports: earmark run --port-base 8700"

Check: TypeAlias = Callable[[Document, ServiceConfig], object]
"""Raises `ConfigError` for a configuration that does not fit what it is for."""
Part: TypeAlias = Callable[[ServiceConfig], ServiceConfig]
"""What one process runs of the whole."""


@dataclass(frozen=True)
class LiveConfig:
    """A configuration as it runs.

    Attributes:
        path: The file; None for the default configuration.
        config: What runs.
        zones: The streams of each zone in the whole service; a restart alone changes them.
        needs_restart: Settings that stand in the file now and are not in ``config``.
    """

    path: Path | None
    config: ServiceConfig
    zones: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    needs_restart: tuple[str, ...] = ()
    _document: Document = field(default_factory=lambda: Document(""), repr=False)
    _check: Check = field(default=lambda _document, _config: None, repr=False)
    _part: Part = field(default=lambda whole: whole, repr=False)
    _port_base: int | None = None

    @classmethod
    def read(
        cls,
        path: Path | None,
        check: Check = lambda _document, _config: None,
        part: Part = lambda whole: whole,
        *,
        port_base: int | None = None,
    ) -> "LiveConfig":
        """The configuration to start with.

        Args:
            path: The file; None for the default configuration.
            check: Raises for one that cannot be used.
            part: What this process runs of it.
            port_base: What the file's ``port_base`` is taken for; None leaves it as it is.

        Raises:
            ConfigError: All that is wrong with it, one line each.
        """
        document = _open(path, port_base)
        config = config_in(document)
        check(document, config)
        return cls(path, part(config), config.zones, _document=document, _check=check, _part=part, _port_base=port_base)

    @property
    def is_default(self) -> bool:
        """Whether it is the default configuration, and nothing else."""
        return self.path is None and not self._document.written

    def check_addresses(self) -> None:
        """Look whether another program has an address that this service would bind.

        Raises:
            ConfigError: All that are taken, one line each.
        """
        if taken := taken_addresses(self.config):
            raise ConfigError("\n".join([*self._document.told(taken), _SECOND_SERVICE]))

    def reread(self) -> "LiveConfig":
        """The same with what can be taken over of the file as it is now.

        Raises:
            ConfigError: There is no file; or all that is wrong with it, one line each, by itself or beside what needs
                a restart.
        """
        if self.path is None:
            raise ConfigError("expected a configuration to read again, got none: it was started without a file")
        document = _open(self.path, self._port_base)
        wanted = config_in(document)
        self._check(document, wanted)
        merged = self._document.taking(document, RELOADABLE)
        taken = config_in(merged)
        self._check(merged, taken)
        if taken.zones != self.zones:
            raise ConfigError(f"{self.path}: expected the zones that run, got others; zones change by a restart")
        config = self._part(taken)
        needs_restart = tuple(_differences(self._part(wanted), config))
        return replace(self, config=config, needs_restart=needs_restart, _document=merged)

    @property
    def text(self) -> str:
        """What runs as YAML, as it stands in its file: ``${NAME}`` stays as it is."""
        return yaml.safe_dump(self._document.written, sort_keys=False, allow_unicode=True)


def _open(path: Path | None, port_base: int | None) -> Document:
    document = open_document(path)
    if port_base is not None:
        document.data["port_base"] = document.written["port_base"] = port_base
    return document


def _differences(wanted: Section, running: Section, around: str = "") -> Iterator[str]:
    for name in type(wanted).model_fields:
        theirs, ours = getattr(wanted, name), getattr(running, name)
        if isinstance(theirs, Section) and isinstance(ours, Section):
            yield from _differences(theirs, ours, f"{around}{name}.")
        elif theirs != ours:
            yield f"{around}{name}"
