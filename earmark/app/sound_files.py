"""From the arguments of ``earmark detect`` to sound files: folders, patterns that the shell left alone, playlists."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from earmark.contracts.errors import SourceError
from streamer.sources.opening import STANDARD_INPUT
from streamer.sources.playlists import is_playlist, read_playlist

SUFFIXES = frozenset(
    [
        ".aac",
        ".ac3",
        ".aif",
        ".aifc",
        ".aiff",
        ".amr",
        ".ape",
        ".asf",
        ".au",
        ".avi",
        ".caf",
        ".flac",
        ".flv",
        ".m2ts",
        ".m4a",
        ".m4b",
        ".m4v",
        ".mka",
        ".mkv",
        ".mov",
        ".mp2",
        ".mp3",
        ".mp4",
        ".mpg",
        ".mpeg",
        ".mts",
        ".oga",
        ".ogg",
        ".ogv",
        ".opus",
        ".rf64",
        ".snd",
        ".spx",
        ".tak",
        ".ts",
        ".tta",
        ".w64",
        ".wav",
        ".wave",
        ".webm",
        ".wma",
        ".wmv",
        ".wv",
    ]
)
"""Of the files in a folder that are taken for sound."""


def find_sound_files(arguments: Sequence[Path]) -> dict[Path, str]:
    """The files that arguments name, in order, each once, with the name that a table gives it.

    A file's name in a table is its own, or its path from the folder that was named. What does not exist is passed on,
    so that reading it says so.

    Args:
        arguments: Files, folders, patterns, playlists, or ``-`` for standard input.

    Raises:
        SourceError: A playlist cannot be read, or names an address.
    """
    found: dict[Path, str] = {}
    for argument in arguments:
        for path, name in _expanded(argument):
            found.setdefault(path, name)
    return found


def _expanded(argument: Path) -> Iterator[tuple[Path, str]]:
    if argument != STANDARD_INPUT and not argument.exists() and glob.has_magic(str(argument)):
        matches = sorted(Path(match) for match in glob.glob(str(argument), recursive=True))  # noqa: PTH207 -- any root
        for match in matches or [argument]:
            yield from _of_path(match)
    else:
        yield from _of_path(argument)


def _of_path(path: Path) -> Iterator[tuple[Path, str]]:
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if _is_sound(file.relative_to(path)) and file.is_file())
        yield from ((file, str(file.relative_to(path))) for file in inside)
        if not inside:
            yield path, path.name
    elif is_playlist(path.name) and path.is_file():
        for name in read_playlist(path):
            if "://" in name:
                raise SourceError(
                    f"{path}: expected a playlist of files, got the address {name}; add it as a stream with source: url"
                )
            yield Path(name), Path(name).name
    else:
        yield path, path.name


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
