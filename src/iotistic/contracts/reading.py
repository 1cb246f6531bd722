"""Reading of untrusted documents: every fault is collected under its path, none ends the reading."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeVar, cast

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_SHOWN = 80


class Fault(NamedTuple):
    """What is wrong, and where: `steps[0].input.command`."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class Fields:
    """One object of a document. A value that is at fault reads as its default, and the fault is noted."""

    def __init__(self, value: object, path: str, faults: list[Fault]) -> None:
        self.path, self.faults = path, faults
        self._read: set[str] = set()
        self._fields: Mapping[object, object] = {}
        if isinstance(value, dict):
            self._fields = cast("Mapping[object, object]", value)
        else:
            self.fault("", f"is to be an object, not {shown(value)}")

    def fault(self, name: str, reason: str) -> None:
        """Note a fault of a field, or of the object itself when it has no name."""
        self.faults.append(Fault(self.at(name), reason))

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{name}".strip(".") if name else self.path

    def raw(self, *names: str) -> object:
        """Return a field as it is, by the first of its names that is there; None when none is."""
        self._read.update(names)
        return next((self._fields[name] for name in names if self._fields.get(name) is not None), None)

    def take(self, name: str, parse: Callable[[object], T], default: T, *others: str) -> T:
        """Return a field as `parse` reads it; `others` are older names of it. ValueError becomes a fault."""
        value = self.raw(name, *others)
        if value is None:
            return default
        try:
            return parse(value)
        except ValueError as exc:
            self.fault(name, str(exc))
            return default

    def need(self, name: str, parse: Callable[[object], T], default: T) -> T:
        """Return a field that is to be there."""
        if self.raw(name) is None:
            self.fault(name, "is missing")
        return self.take(name, parse, default)

    def each(self, name: str, parse: Callable[[object], T]) -> tuple[T, ...]:
        """Return the entries of a list, without those at fault."""
        entries: list[T] = []
        for index, entry in enumerate(self.entries(name)):
            try:
                entries.append(parse(entry))
            except ValueError as exc:
                self.fault(f"{name}[{index}]", str(exc))
        return tuple(entries)

    def entries(self, name: str) -> list[object]:
        """Return a list as it is, empty when it is none."""
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fault(name, f"is to be a list, not {shown(value)}")
            return []
        return cast("list[object]", value)

    def refuse_others(self) -> None:
        """Note a fault for each field that was not read."""
        for name in sorted(str(name) for name in self._fields):
            if name not in self._read:
                self.fault(name, "is not a key that is known here")


def shown(value: object) -> str:
    """Return a value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def text(most: int, *, least: int = 0) -> Callable[[object], str]:
    """Return a reader of texts by their length."""

    def read(value: object) -> str:
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(f"is to be a text, not {shown(value)}")
        if not least <= len(value) <= most:
            raise ValueError(f"is to have {least} to {most} characters, not {len(value)}")
        return value

    return read


def truth(value: object) -> bool:
    """Read true or false. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"is to be true or false, not {shown(value)}")  # noqa: TRY004  one kind of fault
    return value


def whole(least: int, most: int) -> Callable[[object], int]:
    """Return a reader of whole numbers between two bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"is to be a whole number from {least} to {most}, not {shown(value)}")
        return value

    return read


def choice(kinds: type[E]) -> Callable[[object], E]:
    """Return a reader of one of several words."""

    def read(value: object) -> E:
        try:
            return kinds(value)
        except ValueError as exc:
            words = ", ".join(kind.value for kind in kinds)
            raise ValueError(f"is to be one of {words}, not {shown(value)}") from exc

    return read


def moment(value: object) -> float:
    """Read an ISO 8601 time with its zone as seconds since 1970. Raises ValueError."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"is to be a time with zone as 2026-05-17T10:00:00Z, not {shown(value)}")
    return at.timestamp()
