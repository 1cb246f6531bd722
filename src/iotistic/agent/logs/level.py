"""Guesses how much a line matters, from how programs usually write it. No I/O."""

import json
import re
from collections.abc import Mapping
from typing import cast

from iotistic.agent.logs.entry import Level

_WORDS = {
    **dict.fromkeys(("trace", "debug", "dbg", "verbose"), Level.DEBUG),
    **dict.fromkeys(("info", "inf", "information", "informational", "notice", "log"), Level.INFO),
    **dict.fromkeys(("warn", "warning", "wrn"), Level.WARN),
    **dict.fromkeys(
        ("error", "err", "severe", "fatal", "critical", "crit", "panic", "alert", "emerg", "emergency"),
        Level.ERROR,
    ),
}
_KEYS = ("level", "severity", "lvl", "levelname", "loglevel", "log.level")
_LEAST_READ, _MOST_READ, _HEAD = 2, 8192, 96
_ANY = "|".join(sorted(_WORDS, key=len, reverse=True))
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SYSLOG = re.compile(r"<(\d{1,3})>")
_KLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d")
_NAMED = re.compile(rf"\b(?:level|lvl|severity)=[\"']?({_ANY})\b", re.IGNORECASE)
_BEFORE = re.compile(rf"[\d\[\](){{}}T:.,Z/+\- ]{{0,40}}\b({_ANY})\b\s*[\]:|\-)>]", re.IGNORECASE)
_LOUD = re.compile(rf"(?<![\w-])({_ANY.upper()})(?![\w=-])")
_BOXED = re.compile(rf"[\[(|<]\s*({_ANY})\s*[\])|>]", re.IGNORECASE)
_THROWN = re.compile(r"(?:Traceback \(most recent|[\w.$]*(?:Error|Exception)(?::|$))")
_CONTINUED = re.compile(r"\s+\S|Caused by: |\.\.\. \d+ more")
_OF_KLOG = {"I": Level.INFO, "W": Level.WARN, "E": Level.ERROR, "F": Level.ERROR}
_SYSLOG_WARNING, _SYSLOG_DEBUG = 4, 7
_PINO_LEAST, _PINO_INFO, _PINO_WARN, _PINO_ERROR = 10, 30, 40, 50


class LevelGuesser:
    """Of one container, since a line that goes on from the one before matters as much as that."""

    def __init__(self) -> None:
        self._last: dict[bool, Level] = {}

    def guess(self, text: str, *, is_stderr: bool) -> Level:
        """Return a line's level; one that says nothing of it is a warning on stderr, and information elsewhere."""
        plain = _COLOURS.sub("", text[:_MOST_READ]) if "\x1b" in text else text
        level = stated(plain)
        if level is None and _CONTINUED.match(plain):
            level = self._last.get(is_stderr)
        if level is None:
            level = Level.WARN if is_stderr else Level.INFO
        self._last[is_stderr] = level
        return level


def level_named(word: str) -> Level | None:
    """Return the level that a word means (`warning`, `fatal`), None for none."""
    return _WORDS.get(word.lower())


def stated(text: str) -> Level | None:
    """Return the level that a line itself states, None for none."""
    if text.startswith("{") and _LEAST_READ < len(text) <= _MOST_READ:
        found = _of_json(text)
        if found is not None:
            return found
    head = text[:_HEAD]
    if found := _SYSLOG.match(head):
        return _of_syslog(int(found[1]) & 7)
    if found := _KLOG.match(head):
        return _OF_KLOG[found[1]]
    if _THROWN.match(head):
        return Level.ERROR
    for pattern in (_NAMED, _BEFORE, _BOXED, _LOUD):
        look = pattern.match if pattern is _BEFORE else pattern.search
        if found := look(head):
            return _WORDS[found[1].lower()]
    return None


def _of_json(text: str) -> Level | None:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    fields = cast("Mapping[str, object]", document)
    for key in _KEYS:
        value = fields.get(key)
        if isinstance(value, str):
            return _WORDS.get(value.lower())
        if isinstance(value, int) and not isinstance(value, bool):
            return _of_number(value)
    return None


def _of_number(value: int) -> Level:
    """Read a number as pino and bunyan mean it (10 to 60), or as syslog does (0 to 7)."""
    if value < _PINO_LEAST:
        return _of_syslog(value)
    if value < _PINO_INFO:
        return Level.DEBUG
    if value < _PINO_WARN:
        return Level.INFO
    return Level.WARN if value < _PINO_ERROR else Level.ERROR


def _of_syslog(severity: int) -> Level:
    if severity < _SYSLOG_WARNING:
        return Level.ERROR
    if severity == _SYSLOG_WARNING:
        return Level.WARN
    return Level.DEBUG if severity >= _SYSLOG_DEBUG else Level.INFO
