"""``keys new|allow|list|revoke``: who may send streams and hear of events where the service asks for keys."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.contracts.errors import ConfigError

if TYPE_CHECKING:
    from earmark.links.allowed import Client

ListOption = Annotated[Path, typer.Option("--file", metavar="FILE", help="The list of allowed keys.")]
_LIST = Path("allow.yaml")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program, as a group."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(show_help)
    group.command()(new)
    group.command()(allow)
    group.command("list")(list_keys)
    group.command()(revoke)
    app.add_typer(group, name="keys")


def show_help(context: typer.Context) -> None:
    """Make keys, and say what each of them may do."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, like hall-pi.")],
    folder: Annotated[Path, typer.Option(help="Where the two files go.")] = Path(),
) -> None:
    """Make a key pair: NAME.key, which its owner keeps secret, and NAME.pub, which the others get."""
    import re

    from earmark.contracts.curve import make_key_pair

    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise ConfigError(f"expected a NAME of 1 to 64 letters, digits, - and _, got {name!r}")
    secret, public = make_key_pair(folder, name)
    typer.echo(f"{secret}: keep it secret\n{public}: for whoever shall know this one")


def allow(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A .pub file, or the 40 characters in it.")],
    *,
    streams: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Streams that it may send; * stands for anything.")
    ] = "",
    events: Annotated[bool, typer.Option("--events", help="It may subscribe to events.")] = False,
    name: Annotated[str, typer.Option(help="Whose key it is.", show_default="the file's name")] = "",
    file: ListOption = _LIST,
) -> None:
    """Allow a key to do this and nothing else. Services see it within a second."""
    from pydantic import ValidationError

    from earmark.links.allowed import Client, change_allow_list

    public, known_as = _public_key(key)
    name = name or known_as
    patterns = tuple(pattern.strip() for pattern in streams.split(",") if pattern.strip())
    if not name:
        raise ConfigError("expected --name, since no file says whose key this is")
    if not patterns and not events:
        raise ConfigError("expected --streams, --events or both: a key without them may do nothing")
    try:
        client = Client(key=public, streams=patterns, events=events)
    except ValidationError as error:
        raise ConfigError(
            f"--streams: expected names of 1 to 32 of the characters a-z 0-9 _ - *, got {streams!r}"
        ) from error

    def change(clients: dict[str, Client]) -> None:
        for other, known in clients.items():
            if other != name and known.key == public:
                raise ConfigError(f"expected a key that nobody has yet, got that of {other}; revoke {other} first")
        if name in clients and clients[name].key != public:
            raise ConfigError(f"expected a new name, got {name}, who has another key; revoke it first, or give --name")
        clients[name] = client

    change_allow_list(file, change)
    typer.echo(f"{name} {_rights(client)}")


def list_keys(file: ListOption = _LIST) -> None:
    """Tell who may do what."""
    from earmark.links.allowed import read_allow_list

    clients = read_allow_list(file).clients
    if not clients:
        typer.echo("no keys", err=True)
    for name, client in clients.items():
        typer.echo(f"{client.key}  {name} {_rights(client)}")


def revoke(
    who: Annotated[str, typer.Argument(metavar="NAME", help="As the list calls it; a key or a .pub file too.")],
    file: ListOption = _LIST,
) -> None:
    """Take a key's rights away. Services end its connections within two seconds."""
    from earmark.links.allowed import change_allow_list, read_allow_list

    allowed = read_allow_list(file)
    is_file = Path(who).suffix == ".pub" and who not in allowed.clients
    found = allowed.find(_public_key(who)[0] if is_file else who)
    name = found[0] if found else who

    def change(clients: dict[str, Client]) -> None:
        if clients.pop(name, None) is None:
            raise ConfigError(f"expected a key of {file}, got {who}; earmark keys list tells them")

    change_allow_list(file, change)
    typer.echo(f"{name} may do nothing any more")


def _public_key(text: str) -> tuple[str, str]:
    """The key, and the name of the file where it comes from one."""
    from earmark.contracts.curve import check_public_key, read_public_key

    path = Path(text)
    if path.suffix == ".pub" or path.is_file():
        return read_public_key(path).decode(), path.stem
    return check_public_key(text), ""


def _rights(client: Client) -> str:
    rights = [f"may send {', '.join(client.streams)}"] if client.streams else []
    rights += ["may hear of events"] if client.events else []
    return " and ".join(rights) or "may do nothing"
