"""A configuration as YAML that may be shown to anybody."""

from collections.abc import Mapping
from typing import Any, cast

import yaml

from earmark.app.config import ServiceConfig
from earmark.app.config_problems import is_secret
from earmark.contracts.urls import redact_url


def as_yaml(config: ServiceConfig) -> str:
    """The whole configuration, defaults filled in; values that could be secrets are not shown."""
    return yaml.safe_dump(as_data(config), sort_keys=False, allow_unicode=True)


def as_data(config: ServiceConfig) -> dict[str, Any]:
    """The same as plain data."""
    return cast("dict[str, Any]", _hide(config.model_dump(mode="json")))


def _hide(value: object, key: str = "") -> object:
    if isinstance(value, Mapping):
        section = cast("Mapping[str, Any]", value)
        return {name: _hide(inner, name) for name, inner in section.items()}
    if isinstance(value, list):
        return [_hide(inner, key) for inner in cast("list[Any]", value)]
    if isinstance(value, str) and value:
        return "***" if is_secret(key) else redact_url(value)
    return value
