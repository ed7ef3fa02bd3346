"""The pages that are written by the classes themselves: schemas, the configuration's keys, the metrics.

``make reference`` writes them, and a test holds that they say what the code does.
"""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from earmark.app.config import ServiceConfig
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.events import SoundEvent
from earmark.telemetry.metrics import REGISTRY

_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    type(None): "null",
}
_TITLES: dict[type[BaseModel], str] = {SmoothingOverride: "streams.NAME.labels.LABEL"}
"""Sections that are called by where they stand."""
_GENERATED = "<!-- Written by `make reference`; do not edit. -->"


def pages() -> dict[str, str]:
    """Every generated page by its path below ``docs``."""
    return {
        "schema/config.schema.json": _schema(ServiceConfig),
        "schema/sound_event.schema.json": _schema(SoundEvent),
        "configuration.md": "\n".join(_configuration()) + "\n",
        "metrics.md": "\n".join(_metrics()) + "\n",
    }


def _schema(model: type[BaseModel]) -> str:
    return json.dumps(model.model_json_schema(), indent=2) + "\n"


def _configuration() -> Iterator[str]:
    yield f"# Configuration\n\n{_GENERATED}\n"
    yield "One YAML file for the whole service. Unknown keys are refused; `${NAME}` takes a value from the environment."
    for name, field in ServiceConfig.model_fields.items():
        models = list(dict.fromkeys(_models_in(field.annotation)))
        yield f"\n## {name}\n\n{_text(field) or models[0].__doc__}"
        for model in models:
            if len(models) > 1:
                yield f"\n### {_title(model)}\n\n{model.__doc__}"
            yield from _table(model)


def _title(model: type[BaseModel]) -> str:
    if model in _TITLES:
        return _TITLES[model]
    source = model.model_fields.get("source")
    return f"source: {source.default}" if source is not None else model.__name__.removesuffix("Config")


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "\n| key | value | default | |\n|---|---|---|---|"
    for key, field in model.model_fields.items():
        yield f"| `{key}` | {_kind(field.annotation)} | {_default(field)} | {_text(field)} |"


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is not PydanticUndefined:
        value = field.default
    else:
        return "" if get_origin(field.default_factory) is dict else "see there"
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{json.dumps(value, default=str)}`"


def _kind(annotation: Any) -> str:
    """A type in the words of YAML."""
    inner = get_args(annotation)
    match get_origin(annotation):
        case None if annotation in _WORDS:
            words = _WORDS[annotation]
        case None:
            words = f"a section ({_title(annotation)})"
        case origin if origin is Literal:
            words = " or ".join(f"`{value}`" for value in inner)
        case origin if origin in (Union, types.UnionType):
            words = " or ".join(_kind(part) for part in inner)
        case origin if origin is tuple:
            words = f"list of {_kind(inner[0])}"
        case origin if origin is dict:
            words = f"mapping of {_kind(inner[1])}"
        case _:
            words = _kind(inner[0])
    return words


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every section that a type holds, and those that these hold."""
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models_in(field.annotation)
    for part in get_args(annotation):
        yield from _models_in(part)


def _metrics() -> Iterator[str]:
    yield f"# Metrics\n\n{_GENERATED}\n"
    yield "Each process serves `/metrics`, `/healthz` and `/readyz` at its address in the section `telemetry`.\n"
    yield "| name | kind | labels | |\n|---|---|---|---|"
    for collector in sorted(_collectors(), key=lambda collector: collector.describe()[0].name):
        family = collector.describe()[0]
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # noqa: SLF001 -- the library has no other way
        yield f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def _collectors() -> list[Any]:
    return list(REGISTRY._collector_to_names)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- as above


def write(folder: Path) -> None:
    """Write every page below ``folder``."""
    for name, text in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
