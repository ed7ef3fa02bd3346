"""CURVE: who a ZeroMQ peer is, by its key pair. Everything between two such peers is encrypted.

A key file holds one line, ``earmark-secret-key:`` or ``earmark-public-key:`` and 40 characters (ZeroMQ's Z85), so that
neither is ever taken for the other.
"""

import os
import struct
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError

HANDSHAKE_MS = 3_000
"""Who has not said who they are by then is cut off; a client that is refused hears nothing, and tries again then."""
_LONGEST_RETRY_MS = 2_000
_SECRET, _PUBLIC = "earmark-secret-key", "earmark-public-key"


class CurveServer(Section):
    """Who binds: asks everyone who connects for a key that is allowed."""

    key_file: Path
    """Its secret key; ``earmark keys new`` makes one."""
    allow_file: Path
    """The keys that may connect, and what each may do; ``earmark keys allow`` writes it. Read again when it changes."""


class CurveClient(Section):
    """Who connects: shows its key, and talks to nobody but the owner of the server's."""

    key_file: Path
    """Its secret key; ``earmark keys new`` makes one."""
    server_key_file: Path
    """The server's public key."""


def make_key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new pair: ``NAME.key``, for its owner alone, and ``NAME.pub``, which anybody may have.

    Raises:
        ConfigError: One of them is there already, or cannot be written.
    """
    public, secret = zmq.curve_keypair()
    paths = folder / f"{name}.key", folder / f"{name}.pub"
    for path, kind, key, mode in ((paths[0], _SECRET, secret, 0o600), (paths[1], _PUBLIC, public, 0o644)):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError as error:
            raise ConfigError(f"{path}: expected no such file yet; choose another name, or move it away") from error
        except OSError as error:
            raise ConfigError(f"{path}: expected to write a key, got: {error.strerror}") from error
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{kind}: {key.decode()}\n")
    return paths


def read_secret_key(path: Path) -> bytes:
    """The key in ``path``, as Z85.

    Raises:
        ConfigError: There is none. The message holds nothing of what the file says.
    """
    return _read(path, _SECRET)


def read_public_key(path: Path) -> bytes:
    """The key in ``path``, as Z85.

    Raises:
        ConfigError: There is none.
    """
    return _read(path, _PUBLIC)


def check_public_key(key: str) -> str:
    """Return ``key``.

    Raises:
        ConfigError: It is no public key in Z85.
    """
    if not _is_key(key):
        raise ConfigError(f"expected a public key of 40 characters, as a .pub file holds it, got {len(key)} characters")
    return key


def connect_encrypted(channel: "zmq.Socket[Any]", config: CurveClient) -> None:
    """Make a socket that is not connected yet show its key and demand the server's.

    Raises:
        ConfigError: A key file cannot be used.
    """
    secret = read_secret_key(config.key_file)
    channel.curve_serverkey = read_public_key(config.server_key_file)
    channel.curve_publickey = zmq.curve_public(secret)
    channel.curve_secretkey = secret
    channel.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    channel.setsockopt(zmq.RECONNECT_IVL_MAX, _LONGEST_RETRY_MS)


def _read(path: Path, kind: str) -> bytes:
    try:
        found, _, key = path.expanduser().read_text("ascii").strip().partition(": ")
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a key, got: {error.strerror}; make one with: earmark keys new NAME"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected a key, got something else") from error
    if found != kind or not _is_key(key):
        got = f"an {found}" if found in {_SECRET, _PUBLIC} - {kind} else "something else"
        raise ConfigError(f"{path}: expected an {kind}, got {got}; earmark keys new NAME makes NAME.key and NAME.pub")
    return key.encode()


def _is_key(text: str) -> bool:
    try:
        return len(z85.decode(text)) == 32
    except (KeyError, ValueError, struct.error):
        return False
