"""``dead-letters list|show|resend|drop``: events that a webhook did not take."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.app.choices import LiveFormat
from earmark.contracts.errors import ConfigError

if TYPE_CHECKING:
    from earmark.app.config import ServiceConfig
    from publishers.deadletters import DeadLetter, DeadLetters

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="CONFIG", help="The service's YAML file; without it, the default one."),
]
SinkOption = Annotated[
    str | None, typer.Option("--sink", metavar="NAME", help="Only this sink's, like webhook.NAME.", show_default=False)
]
Ids = Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Their numbers in the list.")]
All = Annotated[bool, typer.Option("--all", help="All of them, or all of --sink.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program, as a group."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(show_help)
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(resend)
    group.command()(drop)
    app.add_typer(group, name="dead-letters")


def show_help(context: typer.Context) -> None:
    """List, show, send again or drop the events that a webhook did not take."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def list_letters(
    *,
    config: ConfigOption = None,
    sink: SinkOption = None,
    form: Annotated[LiveFormat, typer.Option("--format", help="How to tell them.")] = LiveFormat.TEXT,
) -> None:
    """List the events that were given up, the oldest first."""
    service = _service(config)
    found = _letters(service).read(sink=sink)
    if not found:
        typer.echo(f"no dead letters{f' of {sink}' if sink else ''} beside {service.outbox.path}", err=True)
    for letter in found:
        typer.echo(_as_json(letter) if form is LiveFormat.JSONL else _as_line(letter))


def show(number: Annotated[int, typer.Argument(metavar="ID")], config: ConfigOption = None) -> None:
    """Show one: the event, why it was given up, and how often it was tried."""
    letters = _letters(_service(config))
    found = [letter for letter in letters.read() if letter.id == number]
    if not found:
        raise ConfigError(_no_such(number, letters))
    typer.echo(_as_json(found[0], indent=2))


def resend(ids: Ids = None, *, everything: All = False, config: ConfigOption = None, sink: SinkOption = None) -> None:
    """Have the publishers send events again. What fails once more stays a dead letter."""
    letters = _letters(_service(config))
    chosen = _chosen(letters, ids, everything=everything, sink=sink)
    typer.echo(f"{letters.want(chosen)} to be sent again, once the publishers run and the webhook takes events")


def drop(ids: Ids = None, *, everything: All = False, config: ConfigOption = None, sink: SinkOption = None) -> None:
    """Delete events for good."""
    letters = _letters(_service(config))
    typer.echo(f"{letters.remove(_chosen(letters, ids, everything=everything, sink=sink))} dropped")


def _service(config: Path | None) -> ServiceConfig:
    """A service that has an outbox: beside one that is not there nobody would find a dead letter, nor learn why."""
    from earmark.app.load import load_config

    service = load_config(config)
    path = service.outbox.path
    try:
        path.stat()
    except OSError as error:
        raise ConfigError(
            f"{path}: expected the outbox of a service, got: {error.strerror}; give its --config, as the user and in "
            "the environment that it runs in: with systemd `sudo XDG_STATE_HOME=/var/lib /opt/earmark/bin/earmark ...`"
        ) from error
    return service


def _letters(service: ServiceConfig) -> DeadLetters:
    from publishers.deadletters import DeadLetters, dead_letters_path

    return DeadLetters(dead_letters_path(service.outbox), service.publishers.dead_letters)


def _chosen(letters: DeadLetters, ids: list[int] | None, *, everything: bool, sink: str | None) -> list[int]:
    if bool(ids) == everything:
        raise ConfigError("expected the numbers of some dead letters or --all; earmark dead-letters list tells them")
    there = [letter.id for letter in letters.read(sink=sink)]
    for number in ids or []:
        if number not in there:
            raise ConfigError(_no_such(number, letters))
    return ids or there


def _no_such(number: int, letters: DeadLetters) -> str:
    return f"there is no dead letter {number} in {letters.path}; earmark dead-letters list tells which there are"


def _as_line(letter: DeadLetter) -> str:
    stored, event = letter.stored, letter.stored.event_or_none
    what = f"{event.onset_time:%Y-%m-%d %H:%M:%S}" if event else "unreadable"
    wanted = ", to be sent again" if letter.is_wanted else ""
    return (
        f"{letter.id:5}  {letter.sink}  {what}  {stored.stream}/{stored.label} "
        f"{event.phase if event else 'event'}  {letter.reason} (tried {letter.attempts} times{wanted})"
    )


def _as_json(letter: DeadLetter, indent: int | None = None) -> str:
    import json
    from datetime import UTC, datetime

    told = {
        "id": letter.id,
        "sink": letter.sink,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "given_up_at": datetime.fromtimestamp(letter.died_ns / 1e9, UTC).isoformat(),
        "is_wanted": letter.is_wanted,
        "event": json.loads(letter.stored.json),
    }
    return json.dumps(told, indent=indent, ensure_ascii=False)
