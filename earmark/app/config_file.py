"""YAML as plain data, beside the line that each key stands on.

Every problem becomes a value, so that one look at a file tells all of them.
"""

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from earmark.contracts.errors import ConfigError
from earmark.contracts.urls import fill_url

Place: TypeAlias = tuple[str | int, ...]
"""Keys and list indices from the top of the file."""

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})")
_MOST_NODES = 100_000
"""Aliases of aliases can make a small file a huge one."""


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place, and what to do about it."""

    place: Place
    message: str


@dataclass
class Document:
    """A file's content.

    Attributes:
        name: The file as the user called it.
        data: Plain data, environment variables put in.
        written: The same as it stands in the file: what a message may quote, because it holds no secret's value.
        lines: From 1, of every key and list item.
        problems: What was found while reading.
    """

    name: str
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    written: dict[str, Any] = field(default_factory=dict[str, Any])
    lines: dict[Place, int] = field(default_factory=dict[Place, int])
    problems: list[Problem] = field(default_factory=list[Problem])

    def line(self, place: Place) -> int:
        """The line of ``place``, or of the nearest thing around it that is written down."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        """All problems as one error, a line each, in the file's order."""
        return ConfigError("\n".join(self.told(problems)))

    def told(self, problems: Iterable[Problem]) -> list[str]:
        """A line each, in the file's order."""
        told = sorted({(self.line(problem.place), self._tell(problem)) for problem in problems})
        return [f"{self.name}:{line}: {text}" for line, text in told]

    def taking(self, other: "Document", places: Iterable[tuple[str, ...]]) -> "Document":
        """This content, but at ``places`` that of ``other``, by whose lines a message goes."""
        merged = Document(other.name, copy.deepcopy(self.data), copy.deepcopy(self.written), other.lines)
        for place in places:
            _take(merged.data, other.data, place)
            _take(merged.written, other.written, place)
        return merged

    @staticmethod
    def _tell(problem: Problem) -> str:
        where = dotted(problem.place)
        if not where or problem.message.startswith(where):
            return problem.message
        return f"{where}: {problem.message}"


def _take(ours: dict[str, Any], theirs: dict[str, Any], place: tuple[str, ...]) -> None:
    for key in place[:-1]:
        if not isinstance(ours.get(key), dict):
            ours[key] = {}
        ours, theirs = ours[key], theirs.get(key) or {}
    ours.pop(place[-1], None)
    if place[-1] in theirs:
        ours[place[-1]] = theirs[place[-1]]


def dotted(place: Place) -> str:
    """``streams.gate.device``; list items as ``engine.bind[0]``. One line, whatever a key holds."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if part.isprintable() else repr(part)
            text += f".{key}" if text else key
    return text


def read_document(path: Path, environment: Mapping[str, str] = os.environ) -> Document:
    """A file's content, with its problems.

    Args:
        path: The YAML file.
        environment: What ``${NAME}`` is looked up in; ``$$`` stands for one dollar sign.

    Raises:
        ConfigError: The file cannot be read or is no YAML at all.
    """
    document = Document(str(path))
    text = _read_text(path)
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{path}:{line}: expected text, got the character U+{error.character:04X}; remove it"
        ) from error
    try:
        root = loader.get_single_node()
        if root is not None:
            _Reader(loader, document, environment).read(root)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:{_line(error)}: expected YAML: {_reason(error)}{_hint(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: expected sections in sections, got hundreds of them; close brackets") from error
    finally:
        loader.dispose()
    return document


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected a configuration file, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}") from error


def _line(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark else 1


def _hint(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    snippet = (mark.get_snippet() or "") if mark else ""
    return "; inside braces put ${...} in quotes" if "${" in snippet else ""


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, ComposerError | ConstructorError):
        # PyYAML would quote it, and it may be a password.
        return (
            "expected a plain value, got one that begins with ! or *, which YAML takes for a tag or an alias; quote it"
        )
    return str(getattr(error, "problem", None) or str(error).splitlines()[0])


class _Reader:
    """Walks the nodes of one file and fills its document."""

    def __init__(self, loader: yaml.SafeLoader, document: Document, environment: Mapping[str, str]) -> None:
        self._loader = loader
        self._document = document
        self._environment = environment
        self._around: list[yaml.Node] = []
        self._n_nodes = 0

    def read(self, root: yaml.Node) -> None:
        """Fill the document from its topmost node."""
        if not isinstance(root, yaml.MappingNode):
            got = "a list" if isinstance(root, yaml.SequenceNode) else repr(root.value)
            self._complain((), root, f"expected sections like streams: and engine:, got {got}")
            return
        self._around.append(root)
        self._document.data, self._document.written = self._mapping(root, ())

    def _value(self, node: yaml.Node, place: Place) -> tuple[Any, Any]:
        self._n_nodes += 1
        if node in self._around or self._n_nodes > _MOST_NODES:
            what = (
                "an alias of what it stands in"
                if node in self._around
                else f"the {_MOST_NODES + 1}st thing in this file"
            )
            self._complain(place, node, f"expected a value, got {what}")
            return None, None
        if isinstance(node, yaml.MappingNode | yaml.SequenceNode):
            self._around.append(node)
            both = self._mapping(node, place) if isinstance(node, yaml.MappingNode) else self._sequence(node, place)
            self._around.pop()
            return both
        written = self._scalar(node, place)
        return (self._substitute(written, node, place) if isinstance(written, str) else written), written

    def _scalar(self, node: yaml.Node, place: Place) -> object:
        try:
            return cast("object", self._loader.construct_object(node))  # pyright: ignore[reportUnknownMemberType]
        except yaml.YAMLError as error:
            self._complain(place, node, _reason(error))
        except ValueError as error:
            self._complain(place, node, str(error))
        except (AttributeError, LookupError):  # PyYAML's, of a tag that was put before something else
            self._complain(place, node, "expected a value that fits the tag before it; remove the tag")
        return None

    def _sequence(self, node: yaml.SequenceNode, place: Place) -> tuple[list[Any], list[Any]]:
        pairs: list[tuple[Any, Any]] = []
        for index, item in enumerate(node.value):
            self._document.lines[(*place, index)] = item.start_mark.line + 1
            pairs.append(self._value(item, (*place, index)))
        return [data for data, _ in pairs], [written for _, written in pairs]

    def _mapping(self, node: yaml.MappingNode, place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
        data: dict[str, Any] = {}
        written: dict[str, Any] = {}
        for key, key_node, value_node in self._keys(node, place):
            self._document.lines[(*place, key)] = key_node.start_mark.line + 1
            data[key], written[key] = self._value(value_node, (*place, key))
        return data, written

    def _keys(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key, str):
                continue
            if key in seen:
                self._complain(
                    (*place, key), key_node, f"stands here twice, first in line {seen[key]}; keep one of them"
                )
            seen.setdefault(key, line)
        self._loader.flatten_mapping(node)  # puts in what << names, before the mapping's own keys
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(place, key_node, "expected a text as key, got a list or a section")
                continue
            if not isinstance(self._scalar(key_node, place), str):
                self._complain(place, key_node, f"expected a text as key, got {key_node.value}; put it in quotes")
            yield key_node.value, key_node, value_node

    def _substitute(self, text: str, node: yaml.Node, place: Place) -> str:
        def look_up(match: re.Match[str]) -> str:
            name = match["name"]
            if name is None:
                return "$"
            if name not in self._environment:
                self._complain(
                    place, node, f"the environment has no variable {name}; set it, or write $${{{name}}} for itself"
                )
            return self._environment.get(name, "")

        return fill_url(text, _VARIABLE, look_up)

    def _complain(self, place: Place, node: yaml.Node, message: str) -> None:
        self._document.lines[place] = node.start_mark.line + 1
        self._document.problems.append(Problem(place, message))
