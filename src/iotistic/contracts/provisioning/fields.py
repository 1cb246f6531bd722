"""Reads JSON that somebody else wrote: every fault is named, and nothing but that is raised."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from iotistic.kernel.errors import Invalid

_MOST_TEXT = 16 * 1024
_NAMED = 20
_MOST_NUMBER = 10**18
_CONTROL = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff]")
_CONTROL_OR_LINE = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")
_KINDS = (
    (bool, "a truth value"),
    (Mapping, "an object"),
    (list, "a list"),
    (str, "a text"),
    (type(None), "nothing"),
)


class ProvisioningInvalid(Invalid):
    """What was sent is not what provisioning needs."""

    code = "provisioning.invalid"


class Fields:
    """One JSON object. Faults of it and of what is in it gather in one list; `done` raises them."""

    def __init__(self, document: object, path: str = "", faults: list[str] | None = None) -> None:
        self.faults: list[str] = [] if faults is None else faults
        self._path = path
        if not isinstance(document, Mapping):
            self._fault("", f"is {_kind(document)}, not an object")
            document = {}
        self._document = cast("Mapping[str, Any]", document)

    def text(self, *names: str, most: int = _MOST_TEXT, lines: bool = False) -> str:
        """Return the text under the first of these names that is there; it must not be empty."""
        before = len(self.faults)
        found = self.maybe(*names, most=most, lines=lines)
        if not found and len(self.faults) == before:
            self._fault(names[0], "is missing")
        return found

    def maybe(self, *names: str, most: int = _MOST_TEXT, lines: bool = False) -> str:
        """Return the text under the first of these names that is there, empty when there is none.

        Numbers are written out. `lines` allows what PEM has: several lines.
        """
        name = next((name for name in names if self._document.get(name) is not None), None)
        if name is None:
            return ""
        value = self._document[name]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST_NUMBER:
            return str(value)
        if not isinstance(value, str):
            self._fault(name, f"is {_kind(value)}, not a text")
        elif len(value) > most:
            self._fault(name, f"has {len(value)} characters, more than {most}")
        elif (_CONTROL if lines else _CONTROL_OR_LINE).search(value):
            self._fault(name, "has characters that cannot be printed")
        else:
            return value
        return ""

    def holds(self, name: str, value: object) -> bool:
        """Say whether just this value stands under a name."""
        return self._document.get(name) == value and type(self._document.get(name)) is type(value)

    def part(self, name: str) -> "Fields":
        """Return the object under a name."""
        return Fields(self._document.get(name), f"{self._path}{name}.", self.faults)

    def part_if_any(self, name: str) -> "Fields | None":
        """Return the object under a name, None when there is none."""
        return None if self._document.get(name) is None else self.part(name)

    def mapping(self, name: str) -> dict[str, Any]:
        """Return the object under a name as it is, empty when there is none."""
        value = self._document.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._fault(name, f"is {_kind(value)}, not an object")
            return {}
        return dict(cast("Mapping[str, Any]", value))

    def time(self, *names: str) -> float:
        """Return a time (ISO 8601 with zone) in seconds since 1970."""
        before = len(self.faults)
        found = self.time_if_any(*names)
        if found is None and len(self.faults) == before:
            self._fault(names[0], "is missing")
        return found or 0.0

    def time_if_any(self, *names: str) -> float | None:
        """Return a time in seconds since 1970, None when there is none."""
        name = next((name for name in names if self._document.get(name) is not None), None)
        if name is None:
            return None
        try:
            at = datetime.fromisoformat(self._document[name])
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (TypeError, ValueError, OverflowError, OSError):
            self._fault(name, "is not a time like 2026-01-31T12:00:00Z")
            return None

    def uuid(self, name: str) -> str:
        """Return a UUID, in small letters with hyphens."""
        text = self.text(name)
        if not text:
            return ""
        try:
            return parse_uuid(text)
        except ProvisioningInvalid:
            self._fault(name, "is not a UUID")
            return ""

    def done(self, what: str) -> None:
        """Raise ProvisioningInvalid when there are faults."""
        if self.faults:
            raise ProvisioningInvalid(
                f"{what}: {'; '.join(self.faults[:_NAMED])}", faults=list(self.faults[:_NAMED])
            )

    def _fault(self, name: str, reason: str) -> None:
        self.faults.append(f"{(self._path + name).rstrip('.') or 'the whole'} {reason}")


def parse_uuid(text: str) -> str:
    """Return a UUID in small letters with hyphens. Raises ProvisioningInvalid."""
    try:
        written = str(UUID(text))
    except ValueError as exc:
        raise ProvisioningInvalid("this is not a UUID") from exc
    if written != text.lower():
        raise ProvisioningInvalid("this is not a UUID as it is usually written")
    return written


def write_time(at: float) -> str:
    """Return a time as it crosses the wire: ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "a number")
