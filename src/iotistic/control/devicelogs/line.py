"""A line of a log, as devices send it. Pure.

- The device's time is believed between the end of what is kept and an hour ahead. Earlier lines are expired;
  those of a clock that was never set, or runs far ahead, get the time at which they came.
- A line's key is a digest of its id and message; of the whole line, and how many equal ones came before it in
  the same upload, when it has no id. The same line sent again has the same key. Only a line with neither id nor
  time cannot be told from another that says the same: it is kept each time.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import cast

MOST_LINE = 256 * 1024
"""Bytes of one line of an upload."""
_MOST_MESSAGE, _MOST_NAME = 32 * 1024, 255
_AHEAD = timedelta(hours=1)
_CLOCKS_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
_MS_LIMIT = 4102444800_000  # 2100
_KEY = 12


class Level(IntEnum):
    """How much a line matters."""

    DEBUG = 0
    INFO = 1
    WARN = 2
    ERROR = 3


_WORDS = {
    **dict.fromkeys(("trace", "debug", "verbose"), Level.DEBUG),
    **dict.fromkeys(("info", "notice", "log"), Level.INFO),
    **dict.fromkeys(("warn", "warning"), Level.WARN),
    **dict.fromkeys(("error", "err", "fatal", "critical", "panic", "alert", "emergency"), Level.ERROR),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """A line; `at` is aware."""

    at: datetime
    key: bytes
    is_restamped: bool
    level: Level
    is_stderr: bool
    is_system: bool
    service: str
    source: str
    container: str
    message: str


class LineRefused(ValueError):  # noqa: N818  it never leaves this room
    """This is no line of a log."""


class LineExpired(ValueError):  # noqa: N818  it never leaves this room
    """This line is older than what is kept."""


class LineReader:
    """Reads the lines of one upload. `now` is when they came, `kept` how long lines are kept."""

    def __init__(self, now: datetime, kept: timedelta) -> None:
        self._now, self._kept = now, kept
        self._equal: dict[bytes, int] = {}

    def read(self, document: object) -> LogLine:
        """Return a line. Raises LineRefused, LineExpired."""
        if not isinstance(document, dict):
            raise LineRefused("is no object")
        fields = cast("Mapping[str, object]", document)
        if "message" not in fields:
            raise LineRefused("has no message")
        stated = _time(fields.get("timestamp"))
        at, is_restamped = self._stamp(stated)
        line = _line(fields, at)
        key = self._key(fields, line, stated)
        return replace(line, key=key, is_restamped=is_restamped)

    def _stamp(self, stated: datetime | None) -> tuple[datetime, bool]:
        if stated is None or stated < _CLOCKS_BEGIN or stated > self._now + _AHEAD:
            return self._now, True
        if stated < self._now - self._kept:
            raise LineExpired
        return stated, False

    def _key(self, fields: Mapping[str, object], line: LogLine, stated: datetime | None) -> bytes:
        name = fields.get("id")
        if isinstance(name, str | int) and name != "":
            return _digest("id", str(name), str(stated), line.message)
        if stated is None:
            return secrets.token_bytes(_KEY)
        content = _digest("line", line.service, line.source, str(stated), str(line.is_stderr), line.message)
        if len(self._equal) > 100_000:  # noqa: PLR2004  bounded: only equals of one instant have to be counted
            self._equal.clear()
        before = self._equal.get(content, 0)
        self._equal[content] = before + 1
        return _digest("again", content.hex(), str(before)) if before else content


def level_named(word: str) -> Level | None:
    """Return the level that a word means, None for none."""
    return _WORDS.get(word.lower())


def _line(fields: Mapping[str, object], at: datetime) -> LogLine:
    is_stderr = fields.get("isStdErr") is True
    said = fields.get("level")
    level = level_named(said) if isinstance(said, str) else None
    source = fields.get("source")
    named = cast("Mapping[str, object]", source).get("name") if isinstance(source, dict) else source
    source_name = _name(named)
    service = _name(fields.get("serviceName")) or source_name or _name(fields.get("serviceId"))
    return LogLine(
        at=at,
        key=b"",
        is_restamped=False,
        level=level if level is not None else (Level.WARN if is_stderr else Level.INFO),
        is_stderr=is_stderr,
        is_system=fields.get("isSystem") is True,
        service=service,
        source=source_name,
        container=_name(fields.get("containerId")),
        message=_message(fields["message"]),
    )


def _message(value: object) -> str:
    text = _storable(value if isinstance(value, str) else str(value))
    return text if len(text) <= _MOST_MESSAGE else text[: _MOST_MESSAGE - 1] + "…"


def _name(value: object) -> str:
    return _storable(str(value))[:_MOST_NAME] if isinstance(value, str | int) else ""


def _storable(text: str) -> str:
    """Return a text that PostgreSQL takes."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _time(value: object) -> datetime | None:
    """Read milliseconds since 1970, or ISO 8601."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC) if 0 <= value < _MS_LIMIT else None
    if not isinstance(value, str) or len(value) > 40:  # noqa: PLR2004
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _digest(*parts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=_KEY)
    for part in parts:
        written = part.encode("utf-8", "replace")
        digest.update(len(written).to_bytes(4, "big") + written)
    return digest.digest()
