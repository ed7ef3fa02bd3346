"""Structured logs on stderr: lines for people on a terminal, JSON lines everywhere else."""

import logging
import os
import sys
from collections.abc import Sequence

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from earmark.contracts.errors import ConfigError
from earmark.contracts.urls import redact_text
from earmark.telemetry.config import LogLevel

LEVEL_VARIABLE = "EARMARK_LOG_LEVEL"
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def configure_logging(process: str, level: LogLevel = "info") -> None:
    """Send this process's logs to stderr, each line with a UTC timestamp, a level and ``process``.

    What libraries log through the standard library comes out the same way.

    Args:
        process: Which one this is, ``engine`` for instance.
        level: The least one that is logged, unless the environment's ``EARMARK_LOG_LEVEL`` says otherwise.

    Raises:
        ConfigError: ``EARMARK_LOG_LEVEL`` is no level.
    """
    least = _number_of(level)
    common = _common_processors(process)
    renderers = _renderers()
    structlog.configure(
        processors=[*common, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    logging.getLogger("earmark").setLevel(least)
    logging.captureWarnings(capture=True)


def _number_of(level: LogLevel) -> int:
    name = os.environ.get(LEVEL_VARIABLE, level).lower()
    if name not in _LEVELS:
        raise ConfigError(f"expected {LEVEL_VARIABLE} to be one of {', '.join(_LEVELS)}, got {name!r}")
    return _LEVELS[name]


def _common_processors(process: str) -> list[Processor]:
    def name_process(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
        entry["process"] = process
        return entry

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        name_process,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers() -> Sequence[Processor]:
    common: list[Processor] = [structlog.processors.format_exc_info, _hide_passwords]
    if sys.stderr.isatty():
        return [*common, structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))]
    return [*common, structlog.processors.JSONRenderer(default=str)]


def _hide_passwords(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    """Redact addresses, wherever they come from: libraries quote them in their errors."""
    return {key: _redacted(value) for key, value in entry.items()}


def _redacted(value: object) -> object:
    if isinstance(value, BaseException):
        value = str(value)
    return redact_text(value) if isinstance(value, str) and "://" in value else value
