"""What the classes write themselves: schemas, the configuration's keys, the metrics, the dashboard, the alerts.

``make reference`` writes them, and a test holds that they say what the code does.
"""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from earmark.app import asyncapi
from earmark.app.alert_rules import alert_rules
from earmark.app.config import ServiceConfig
from earmark.app.dashboards import dashboard
from earmark.app.metric_families import families
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.events import SoundEvent
from publishers.http.app import openapi_document

_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "text, kept secret",
    type(None): "null",
}
_TITLES: dict[type[BaseModel], str] = {SmoothingOverride: "streams.NAME.labels.LABEL"}
"""Sections that are called by where they stand."""
_GENERATED = "<!-- Written by `make reference`; do not edit. -->"


def pages() -> dict[str, str]:
    """Every generated file by its path from the top of the checkout."""
    return {
        "docs/schema/config.schema.json": _schema(ServiceConfig),
        "docs/schema/sound_event.schema.json": _schema(SoundEvent),
        "docs/schema/openapi.json": json.dumps(openapi_document(), indent=2) + "\n",
        "docs/configuration.md": "\n".join(_configuration()) + "\n",
        "docs/metrics.md": "\n".join(_metrics()) + "\n",
        "docs/asyncapi.yaml": _yaml(asyncapi.document()),
        "deploy/grafana/earmark.json": json.dumps(dashboard(), indent=2) + "\n",
        "deploy/prometheus/alerts.yaml": _yaml(alert_rules()),
    }


def _schema(model: type[BaseModel]) -> str:
    return json.dumps(model.model_json_schema(), indent=2) + "\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors: a part that stands in two places is written twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- the base class's signature
        return True


def _yaml(content: dict[str, Any]) -> str:
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by `make reference`; do not edit.\n{text}"


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
        yield f"| `{field.alias or key}` | {_kind(field.annotation)} | {_default(field)} | {_text(field)} |"


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
    for family in families():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.name}` | {family.kind} | {labels} | {family.text} |"


def write(folder: Path) -> None:
    """Write every file below ``folder``, the top of a checkout."""
    for name, text in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
