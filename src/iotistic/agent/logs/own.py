"""The agent's own log, as lines among all others.

It goes over the network from here, so values are looked at once more: what is called like a secret, or looks
like one, becomes stars. Nobody may log one; this is for the day that somebody does.
"""

import asyncio
import contextlib
import itertools
import logging
import re
from collections.abc import Callable, Generator, Mapping, MutableMapping
from typing import Any, cast

import structlog

from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType

_SOURCE = Source(SourceType.MANAGER, "agent")
_LEVELS = {
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "warning": Level.WARN,
    "warn": Level.WARN,
    "error": Level.ERROR,
    "critical": Level.ERROR,
    "exception": Level.ERROR,
}
_NOT_SAID = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "process",
        "exc_info",
        "exception",
        "stack_info",
        "_record",
        "_from_structlog",
    }
)
_SECRET_NAME = re.compile(
    r"passw|secret|token|api_?key|private|credential|authoriz|cookie|signature", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"(?P<before>://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|(?P<named>(?:bearer|password|token|secret|api[_-]?key)[\"']?\s*[=: ]\s*[\"']?)[^\s\"',;]{6,}"
    r"|-----BEGIN [^-]*PRIVATE KEY-----[\s\S]*",
    re.IGNORECASE,
)
_STARS = "***"
_MOST_VALUE, _MOST_TRACE, _MOST_SECRET = 500, 8000, 200


class OwnLog:
    """A processor of structlog that hands what is logged on, and a handler for what others log in this process."""

    def __init__(self, take: Callable[[LogEntry], None], clock: Callable[[], float]) -> None:
        self._take, self._clock = take, clock
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Hand one event on, and return it as it came."""
        with contextlib.suppress(Exception):  # whoever logs has work to do that this is no part of
            self._hand(_LEVELS.get(str(event.get("level", method)), Level.INFO), message_of(event))
        return event

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Listen, in the thread of a running event loop, to everything that is logged in this process.

        Goes before the last processor, which writes; loggers that were used before are heard as well.
        """
        self._loop = asyncio.get_running_loop()
        processors = cast("list[Any]", structlog.get_config()["processors"])
        processors.insert(len(processors) - 1, self)
        foreign = _Foreign(self._hand)
        logging.getLogger().addHandler(foreign)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(foreign)
            processors.remove(self)

    def _hand(self, level: Level, message: str) -> None:
        now = int(self._clock() * 1000)
        number = next(self._numbers)
        entry = LogEntry(f"agent-{now:x}-{number}", message, now, level, _SOURCE, is_system=True)
        if self._loop is None or _running_loop() is self._loop:
            self._take(entry)
        else:  # the store's thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._take, entry)


class _Foreign(logging.Handler):
    """Hears what libraries log."""

    def __init__(self, hand: Callable[[Level, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = hand

    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
            message = f"{record.name}: {record.getMessage()}" + (f"\n{trace}" if trace else "")
        except Exception:  # noqa: BLE001  a library's own message does not fit its arguments
            message = f"{record.name}: {record.msg}"
        self._say(_LEVELS.get(record.levelname.lower(), Level.WARN), _without_secrets(message, _MOST_TRACE))


def message_of(event: Mapping[str, Any]) -> str:
    """Return an event as a line: its name, its fields, and a trace if there is one; without secrets."""
    fields = [f"{name}={_value(name, value)}" for name, value in event.items() if name not in _NOT_SAID]
    trace = event.get("exception") or _trace(event)
    said = " ".join([str(event.get("event", "")), *fields])
    return _without_secrets(f"{said}\n{trace}" if trace else said, _MOST_TRACE)


def _value(name: str, value: object) -> str:
    if _SECRET_NAME.search(name):
        return _STARS
    text = _without_secrets(str(value), _MOST_VALUE)
    return f'"{text}"' if " " in text else text


def _without_secrets(text: str, most: int) -> str:
    looked_at = text[: most + _MOST_SECRET]  # one that stands across the cut is to be seen whole
    found = _SECRET_TEXT.sub(lambda hit: (hit["before"] or hit["named"] or "") + _STARS, looked_at)
    return found if len(found) <= most else found[:most] + "…"


def _trace(event: Mapping[str, Any]) -> str:
    if not event.get("exc_info"):
        return ""
    told = structlog.processors.format_exc_info(None, "", dict(event))
    return str(told.get("exception", ""))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
