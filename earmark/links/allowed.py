"""The allow-list: a YAML file that people can read, which ``earmark keys`` writes.

clients:
  hall-pi: {key: "...", streams: [gate, yard-*], events: false}
"""

import os
import stat
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self, TypeAlias

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from earmark.contracts.config import Section
from earmark.contracts.curve import check_public_key
from earmark.contracts.errors import ConfigError
from earmark.contracts.folders import locked

_HEAD = "# Who may connect. Written by earmark keys allow and revoke; read again within a second when it changes.\n"

ClientName: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
Pattern: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9_*-]{1,32}$")]

_NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What PyYAML raises of a file that is none: a date that there is not, an empty number, brackets without end."""


class Client(Section):
    """One key, and what its owner may do.

    Attributes:
        key: Public key, Z85.
        streams: Names of streams that it may send; ``*`` stands for any characters.
        events: Whether it may subscribe to events and ask the history.
    """

    key: Annotated[str, AfterValidator(check_public_key)]
    streams: tuple[Pattern, ...] = ()
    events: bool = False

    def may_send(self, stream: str) -> bool:
        """Whether ``stream`` is one of its own."""
        return any(fnmatchcase(stream, pattern) for pattern in self.streams)


class AllowList(Section):
    """All clients, by a name for people."""

    clients: dict[ClientName, Client] = Field(default_factory=dict[str, Client])

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        if len(self._by_key) != len(self.clients):
            raise ValueError("expected a key to stand here once, got one twice; remove one of its entries")
        return self

    @cached_property
    def _by_key(self) -> dict[str, str]:
        return {client.key: name for name, client in self.clients.items()}

    def find(self, key: str) -> tuple[str, Client] | None:
        """Name and rights of a key's owner; None for a stranger."""
        name = self._by_key.get(key)
        return None if name is None else (name, self.clients[name])

    def takes_from(self, earlier: "AllowList") -> bool:
        """Whether somebody may do less than ``earlier`` says."""
        for client in earlier.clients.values():
            found = self.find(client.key)
            if found is None or found[1].events < client.events or not set(client.streams) <= set(found[1].streams):
                return True
        return False


def read_allow_list(path: Path) -> AllowList:
    """The list in a file.

    Raises:
        ConfigError: It cannot be read, or says something else.
    """
    try:
        document = yaml.safe_load(path.expanduser().read_text("utf-8"))
        return AllowList.model_validate(document or {})
    except OSError as error:
        raise ConfigError(
            f"{path}: expected the list of allowed keys, got: {error.strerror}; "
            f"begin one with: earmark keys allow NAME.pub --streams NAME --file {path}"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the list"
        raise ConfigError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    except _NO_YAML as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path}: expected YAML, got: {reason}") from error


def _take_rights(descriptor: int, path: Path) -> None:
    """Let those read a file who could read the one that it replaces, whatever the umask; all, where there was none."""
    before = path.stat() if path.exists() else None
    os.fchmod(descriptor, 0o644 if before is None else stat.S_IMODE(before.st_mode))
    if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, before.st_uid, before.st_gid)


def change_allow_list(path: Path, change: Callable[[dict[str, Client]], None]) -> AllowList:
    """Change the list in a file, which is made if it is missing; never half-written.

    Raises:
        ConfigError: It cannot be read or written.
    """
    try:
        with locked(path.parent):  # two commands at once wait for each other
            clients = dict(read_allow_list(path).clients) if path.exists() else {}
            change(clients)
            changed = AllowList(clients=clients)
            text = yaml.safe_dump(changed.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
            beside = path.with_name(path.name + ".new")
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(_HEAD + text)
                _take_rights(file.fileno(), path)
            beside.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: expected to write the list of allowed keys, got: {error.strerror}") from error
    return changed
