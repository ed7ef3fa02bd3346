"""The command ``earmark``. Each command imports what it needs when it runs, so that help comes at once."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import codecs
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from earmark.app.commands import (
    bench,
    chaos,
    compiling,
    configuration,
    data,
    deadletters,
    evaluation,
    inventory,
    keys,
    listening,
    report,
    service,
    training,
    tuning,
)
from earmark.contracts.errors import AddressNotReadyError, EarmarkError

TRY_AGAIN = os.EX_TEMPFAIL
_NAMES = "earmark-names"
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to standard output fails with where it is a file or a terminal. Files have names in their errors."""
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EROFS, errno.ELOOP)
"""What a path that somebody gave may be like, which no file of ours is."""

app = typer.Typer(
    name="earmark",
    help="Listens to microphones, cameras and files and tells when each sound began and ended.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for group in (
    service,
    listening,
    report,
    inventory,
    configuration,
    keys,
    deadletters,
    data,
    training,
    tuning,
    evaluation,
    compiling,
    bench,
    chaos,
):
    group.add_to(app)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 -- as typer calls it
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"earmark {version('earmark')}")
        except PackageNotFoundError:
            typer.echo("earmark, from a checkout that is not installed")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _earmark(  # pyright: ignore[reportUnusedFunction] -- typer calls it
    context: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show it.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """The program: runs the command that its arguments name, and exits."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run a command.

    Returns:
        The exit code: 2 for what the user can mend, told in one line each; 75 for an address that is not there yet;
        130 for Ctrl-C. A bug raises.
    """
    _prepare_output()
    try:
        code = app(list(arguments), prog_name="earmark", standalone_mode=False)
        sys.stdout.flush()
    except EarmarkError as error:
        complain(str(error))
        return TRY_AGAIN if isinstance(error, AddressNotReadyError) else 2
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "earmark"
        complain(f"{error.format_message()} ({command} --help tells what there is)".replace("\n", " "))
        return error.exit_code
    except typer.Abort:
        return 130
    except BrokenPipeError:
        _drop_output()  # nobody reads any more
        return 0
    except OSError as error:
        mistake = _mistake_in(error)
        if mistake is None:
            raise
        complain(mistake)
        return 2
    return code if isinstance(code, int) else 0


def _encode_name(error: UnicodeError) -> tuple[bytes | str, int]:
    """What a channel cannot encode: a name's own bytes where they are no text, else a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    encoded = bytearray()
    for character in error.object[error.start : error.end]:
        code = ord(character)
        encoded.append(code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else ord("?"))
    return bytes(encoded), error.end


codecs.register_error(_NAMES, _encode_name)


def _prepare_output() -> None:
    for name in ("stdout", "stderr"):
        if (channel := getattr(sys, name)) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- as long as the process
        elif isinstance(channel, io.TextIOWrapper):
            channel.reconfigure(errors=_NAMES)


def _mistake_in(error: OSError) -> str | None:
    """What to tell of an error that comes from what the user gave; None for a bug."""
    if error.filename is not None:
        if error.errno not in _UNUSABLE:
            return None
        return f"{error.filename}: expected a path that can be used, got: {error.strerror}; check it"
    if error.errno not in _UNWRITABLE:
        return None
    _drop_output()
    return f"standard output: expected to write there, got: {error.strerror}; write somewhere else"


def _drop_output() -> None:
    """What is still buffered must not fail once again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """One line on standard error for each line of ``text``, without the words that pydantic puts before ours."""
    for line in text.replace("Value error, ", "").splitlines():
        print(f"earmark: error: {line}", file=sys.stderr)
