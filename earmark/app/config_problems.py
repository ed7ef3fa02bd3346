"""Pydantic's errors in our words: where in the file, what was expected, what came, and which key comes nearest."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from earmark.app.config_file import Place, Problem
from earmark.contracts.errors import ConfigError
from earmark.contracts.urls import redact_url

_SECRET = re.compile(r"password|secret|token|credential|(^|_)key($|_)|^urls$|^headers$|authorization")
_QUOTED = re.compile(r"'([^']*)'")
_MOST_NAMES = 12
_TAGGED, _TAG = "streams", "source"
"""The one section whose members are of several kinds, and the key that names the kind."""


def check_labels(labels: Collection[str], known: Collection[str], where: str) -> frozenset[str]:
    """Return ``labels``, all of which are ``known``.

    Raises:
        ConfigError: Those that are not, one line each, with the nearest that is.
    """
    if unknown := sorted(set(labels) - set(known)):
        lines = [f"{where}: the bundle has no label {label!r}{nearest(label, known)}" for label in unknown]
        raise ConfigError("\n".join(lines))
    return frozenset(labels)


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean device?``, or what there is when nothing comes near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    if not names:
        return ""
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"; expected one of {', '.join(names[:_MOST_NAMES])}{more}"


def is_secret(key: str) -> bool:
    """Whether a key's name says that its value must not be shown."""
    return _SECRET.search(key) is not None


def find_problems(error: ValidationError, model: type[BaseModel], written: Mapping[str, Any]) -> list[Problem]:
    """One problem for each place that does not fit.

    Args:
        error: What validation of the file's data against ``model`` said.
        model: The whole configuration's class.
        written: The file's data as it stands there, to quote from.
    """
    schema = model.model_json_schema()
    by_place: dict[Place, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_place.setdefault(_place(detail, written), []).append(detail)
    for place, details in list(by_place.items()):
        # A list is too short only because what is in it is wrong.
        if details[0]["type"] == "too_short" and any(
            len(p) > len(place) and p[: len(place)] == place for p in by_place
        ):
            del by_place[place]
    return [_problem(place, details, schema, written) for place, details in by_place.items()]


def _place(detail: ErrorDetails, written: Mapping[str, Any]) -> Place:
    """Where in the file: pydantic's location without the names of a union's members."""
    here: object = written
    place: list[str | int] = []
    is_tag_seen = False
    for index, part in enumerate(detail["loc"]):
        if len(place) == 2 and place[0] == _TAGGED and part == _child(here, _TAG) and not is_tag_seen:
            is_tag_seen = True
            continue
        is_missing = detail["type"] == "missing" and index == len(detail["loc"]) - 1
        if is_missing or _has(here, part):
            place.append(part)
            here = _child(here, part)
    return tuple(place)


def _has(here: object, part: str | int) -> bool:
    if isinstance(here, Mapping):
        return part in here
    return isinstance(here, list) and isinstance(part, int) and part < len(cast("list[object]", here))


def _child(here: object, part: str | int) -> object:
    return cast("Any", here)[part] if _has(here, part) else None


def _problem(place: Place, details: list[ErrorDetails], schema: dict[str, Any], written: Mapping[str, Any]) -> Problem:
    first = details[0]
    if first["type"].startswith("union_tag"):
        return _source_problem(place, first, written)
    if first["type"] == "extra_forbidden":
        return Problem(place, "unknown key" + nearest(str(place[-1]), _keys_at(schema, place[:-1], written)))
    return Problem(place, _message(details, _quote(place, _look_up(written, place))))


def _message(details: list[ErrorDetails], got: str) -> str:
    first = details[0]
    context = first.get("ctx", {})
    match first["type"]:
        case "missing":
            return "missing; it has no default"
        case "too_short":
            return f"expected at least {context.get('min_length', 1)}, got none"
        case "value_error" | "assertion_error":
            return str(context.get("error", first["msg"]))
        case "literal_error":
            expected = str(context.get("expected", ""))
            return f"expected {expected}, got {got}{_resembles(got, _QUOTED.findall(expected))}"
        case _:
            expected = " or ".join(dict.fromkeys(_expected(detail["msg"]) for detail in details))
            return f"expected {expected}, got {got}{_hint(first, got)}"


def _resembles(got: str, known: Iterable[str]) -> str:
    near = nearest(got.strip("'"), known)
    return near if near.endswith("?") else ""


def _source_problem(place: Place, detail: ErrorDetails, written: Mapping[str, Any]) -> Problem:
    context = detail.get("ctx", {})
    key = str(context["discriminator"]).strip("'")
    tags = _QUOTED.findall(str(context.get("expected_tags", "")))
    if detail["type"] == "union_tag_not_found":
        return Problem(place, f"has no {key}; say which kind it is")
    got = _quote((*place, key), _look_up(written, (*place, key)))
    return Problem((*place, key), f"expected one of {', '.join(tags)}, got {got}{_resembles(got, tags)}")


def _expected(message: str) -> str:
    """The object of "Input should be ..."; a pattern in words, of which the configuration has one."""
    text = re.sub(r"^Input should be (a valid )?", "", message)
    text = re.sub(r"^String should match pattern .*://.*", "an address like rtsp://host/path", text)
    text = re.sub(r", unable to parse .*", "", text)
    text = re.sub(r"^(dictionary|dict).*", "a section with keys", text)
    text = re.sub(r"^tuple$", "list", text)
    text = re.sub(r"^Input is not a valid path .*", "a path", text)
    return re.sub(r"^(string|integer|number|boolean|list|tuple)$", lambda m: f"a {m[1]}".replace("a i", "an i"), text)


def _hint(detail: ErrorDetails, got: str) -> str:
    if detail["type"] == "string_type" and got[:1] not in "[{n":
        return "; put it in quotes"
    return ""


def _quote(place: Place, value: object) -> str:
    """What was written, unless it could be a secret."""
    if any(isinstance(part, str) and is_secret(part) for part in place):
        return "a value that is not shown"
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a section with keys"
    if isinstance(value, str) and "@" in value and "://" not in value:
        return "a value that is not shown"  # an address whose scheme was forgotten
    text = repr(redact_url(value) if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _look_up(data: object, place: Place) -> object:
    for part in place:
        data = _child(data, part)
    return data


def _keys_at(schema: dict[str, Any], place: Place, written: Mapping[str, Any]) -> set[str]:
    """The keys that the section at ``place`` knows."""
    nodes = [schema]
    for index, part in enumerate(place):
        here = _look_up(written, place[:index])
        nodes = [child for node in nodes for child in _children(schema, node, part, here)]
    here = _look_up(written, place)
    return {key for node in nodes for branch in _branches(schema, node, here) for key in branch.get("properties", {})}


def _children(schema: dict[str, Any], node: dict[str, Any], part: str | int, here: object) -> Iterable[dict[str, Any]]:
    for branch in _branches(schema, node, here):
        child = branch.get("items") if isinstance(part, int) else branch.get("properties", {}).get(part)
        child = child or branch.get("additionalProperties")
        if isinstance(child, dict):
            yield child


def _branches(schema: dict[str, Any], node: dict[str, Any], here: object) -> Iterable[dict[str, Any]]:
    """The schemas that ``node`` may stand for, given what is written there."""
    if "$ref" in node:
        node = {**schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], **{k: v for k, v in node.items() if k != "$ref"}}
    options = [*node.get("anyOf", []), *node.get("oneOf", []), *node.get("allOf", [])]
    if discriminator := node.get("discriminator"):
        chosen = discriminator["mapping"].get(_child(here, discriminator["propertyName"]))
        options = [{"$ref": chosen}] if chosen else options
    if not options:
        yield node
    for option in options:
        yield from _branches(schema, option, here)
