"""Reading of untrusted documents: every fault is collected under its path, none ends the reading."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar, cast

T = TypeVar("T")

_SHOWN = 80


class Fault(NamedTuple):
    """What is wrong, and where: `apps.7.services[0].config.ports[1]`."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path or 'the document'}: {self.reason}"


class Reader:
    """One object of a document. Values that are at fault read as None, and the fault is noted."""

    def __init__(self, value: object, path: str, faults: list[Fault]) -> None:
        self.path, self.faults = path, faults
        if not isinstance(value, dict):
            self.fault("", f"is to be an object, not {shown(value)}")
            value = {}
        self._fields = cast("Mapping[object, object]", value)
        self._read: set[str] = set()

    def fault(self, name: str, reason: str) -> None:
        """Note a fault of a field, or of the object itself when it has no name."""
        self.faults.append(Fault(self.at(name), reason))

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{name}".strip(".") if name else self.path

    def has(self, name: str) -> bool:
        """Say whether a field is there and not null."""
        return self._fields.get(name) is not None

    def raw(self, name: str) -> object:
        """Return a field as it is, None when it is not there."""
        self._read.add(name)
        return self._fields.get(name)

    def read(self, name: str, parse: Callable[[object], T]) -> T | None:
        """Return a field as `parse` reads it; None when it is not there, or when parse raised ValueError."""
        value = self.raw(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as exc:
            self.fault(name, str(exc))
            return None

    def each(self, name: str, parse: Callable[[object], T]) -> list[T]:
        """Return the entries of a list, without those at fault."""
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fault(name, f"is to be a list, not {shown(value)}")
            return []
        entries: list[T] = []
        for index, entry in enumerate(cast("list[object]", value)):
            try:
                entries.append(parse(entry))
            except ValueError as exc:
                self.fault(f"{name}[{index}]", str(exc))
        return entries

    def inner(self, name: str) -> "Reader | None":
        """Return a field that is an object."""
        value = self.raw(name)
        return None if value is None else Reader(value, self.at(name), self.faults)

    def items(self) -> Iterable[tuple[str, object]]:
        """Return all fields."""
        return [(str(name), value) for name, value in self._fields.items()]

    def refuse_others(self, known: Mapping[str, str] | None = None) -> None:
        """Note a fault for each field that was not read; `known` says more about some of them."""
        for name in sorted(str(name) for name in self._fields):
            if name not in self._read:
                self.fault(name, (known or {}).get(name, "is not a key that is known here"))


def shown(value: object) -> str:
    """Return a value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def text(value: object) -> str:
    """Read a text. Raises ValueError."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"is to be a text, not {shown(value)}")
    return value


def scalar(value: object) -> str:
    """Read a text, number or truth value as a text. Raises ValueError."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return text(value)


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


def seconds(most: float) -> Callable[[object], float]:
    """Return a reader of seconds, whole or not."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise ValueError(f"is to be a number of seconds up to {most:g}, not {shown(value)}")
        return float(value)

    return read


def pairs(value: object) -> frozenset[tuple[str, str]]:
    """Read an object of names and scalars. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"is to be an object of names and values, not {shown(value)}")  # noqa: TRY004  one kind
    entries = cast("dict[object, object]", value)
    for name in entries:
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ValueError(f"{shown(name)} cannot be a name")
    return frozenset((str(name), scalar(entry)) for name, entry in entries.items())
