"""Structured logs: one event per line, a static `noun.past_verb` with ids as fields.

Console lines for people when standard error is a terminal, JSON lines otherwise. Secrets never get
this far: they are a type that prints as stars.
"""

import logging
import sys
from enum import StrEnum
from typing import Any, TextIO

import structlog

from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import field_validator


class LogLevel(StrEnum):
    """The lowest level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines are written."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogSettings(Settings):
    """What is logged, and how."""

    log_level: LogLevel = LogLevel.INFO
    """Lowest level written: debug, info, warning or error."""
    log_format: LogFormat = LogFormat.AUTO
    """`auto` writes console lines to a terminal and JSON lines elsewhere."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_in_any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def change_level(level: LogLevel | str) -> None:
    """Write from another level on. Loggers that said something before keep the one that they had."""
    lowest = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(lowest))


def configure_logging(settings: LogSettings, *, process: str, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers to `stream`, with `process` bound.

    The default is standard error; a process that owns the terminal for something else gives a file.
    """
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    as_json = settings.log_format is LogFormat.JSON or (
        settings.log_format is LogFormat.AUTO and not target.isatty()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=shared + rendering,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    foreign = logging.StreamHandler(target)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[foreign], level=max(level, logging.WARNING), force=True)
