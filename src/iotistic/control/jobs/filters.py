"""Which devices are meant, as a small typed tree.

    {"fleet_id": "hall-1", "agent_version": {"lt": "2.4"}, "tags": {"line": ["a", "b"]}}
    {"any": [{"name": {"starts_with": "press"}}, {"not": {"type": "gateway"}}]}

The names in one object all have to hold. A value alone means "equal", a list "one of". What is not understood is
refused by its path. Nothing of a filter becomes SQL text: `selection` has one fixed text for each field and
operator, and every value is a parameter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import cast
from uuid import UUID

from iotistic.contracts.reading import Fault, moment, shown, text, whole
from iotistic.kernel.errors import Invalid

_MOST_TERMS, _DEEPEST, _MOST_LISTED = 100, 8, 1000
_MOST_FAULTS = 20
_LARGEST = 2**53
_PARTS_OF_VERSION, _DIGITS = 4, 9


class FilterInvalid(Invalid):
    """The filter cannot be understood."""

    code = "job.filter_invalid"


class Field(StrEnum):
    """What is known of a device."""

    UUID = "uuid"
    NUMBER = "number"
    NAME = "name"
    TYPE = "type"
    FLEET_ID = "fleet_id"
    APPLICATION_ID = "application_id"
    MAC_ADDRESS = "mac_address"
    OS_VERSION = "os_version"
    AGENT_VERSION = "agent_version"
    CREATED_AT = "created_at"
    TAG = "tags"


class Operator(StrEnum):
    """How a field is compared."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    STARTS_WITH = "starts_with"
    CONTAINS = "contains"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class Term:
    """A field compared with a value; `key` is the tag's."""

    field: Field
    operator: Operator
    value: object
    key: str = ""


@dataclass(frozen=True, slots=True)
class Every:
    """All of them hold; of none, always."""

    of: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of them holds."""

    of: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    of: "Filter"


Filter = Term | Every | Some | Not

_OLDER_NAMES = {
    "device_uuid": Field.UUID,
    "device_name": Field.NAME,
    "device_type": Field.TYPE,
    "fleet": Field.FLEET_ID,
}
_SAME = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN})
_ORDER = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_TEXTS = _SAME | {Operator.STARTS_WITH, Operator.CONTAINS}
_LISTS = frozenset({Operator.IN, Operator.NOT_IN})
_short = text(1024)


def _short_text(value: object) -> str:
    try:
        _short(value).encode()
    except UnicodeEncodeError as exc:
        raise ValueError("holds half a character") from exc
    return str(value)


def read_version(value: object) -> list[int]:
    """Read a version of one to four numbers. Raises ValueError."""
    parts = value.removeprefix("v").split(".") if isinstance(value, str) else []
    good = [one for one in parts if one.isascii() and one.isdecimal() and len(one) <= _DIGITS]
    if not parts or len(good) != len(parts) or len(parts) > _PARTS_OF_VERSION:
        raise ValueError(f"is to be a version as 1.4.2, not {shown(value)}")
    return [int(one) for one in parts]


def _uuid(value: object) -> UUID:
    try:
        return UUID(_short_text(value))
    except ValueError as exc:
        raise ValueError(f"is to be a UUID, not {shown(value)}") from exc


def _time(value: object) -> datetime:
    return datetime.fromtimestamp(moment(value), UTC)


_Kind = tuple[frozenset[Operator], Callable[[object], object]]
_TEXT: _Kind = (_TEXTS, _short_text)
_KINDS: Mapping[Field, _Kind] = {
    Field.UUID: (_SAME, _uuid),
    Field.NUMBER: (_SAME | _ORDER, whole(0, _LARGEST)),
    Field.NAME: _TEXT,
    Field.TYPE: _TEXT,
    Field.FLEET_ID: _TEXT,
    Field.APPLICATION_ID: _TEXT,
    Field.MAC_ADDRESS: _TEXT,
    Field.OS_VERSION: _TEXT,
    Field.AGENT_VERSION: (_TEXTS | _ORDER, _short_text),
    Field.CREATED_AT: (_ORDER, _time),
    Field.TAG: (_TEXTS | {Operator.EXISTS}, _short_text),
}


def read_filter(value: object) -> Filter:
    """Read a filter. Raises FilterInvalid naming each fault by its path."""
    reading = _Reading()
    found = reading.whole(value, "", 0)
    if reading.terms > _MOST_TERMS:
        reading.fault("", f"has more than {_MOST_TERMS} conditions")
    if reading.faults:
        listed = "; ".join(str(fault) for fault in reading.faults[:_MOST_FAULTS])
        raise FilterInvalid(
            f"{len(reading.faults)} fault(s): {listed}", hint=f"fields are {', '.join(sorted(Field))}"
        )
    return found


class _Reading:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.terms = 0

    def fault(self, path: str, reason: str) -> None:
        self.faults.append(Fault(path, reason))

    def whole(self, value: object, path: str, depth: int) -> Filter:
        if not isinstance(value, dict) or depth > _DEEPEST:
            self.fault(path, f"is to be an object, nested {_DEEPEST} times at most")
            return Every(())
        named = cast("dict[object, object]", value)
        return Every(
            tuple(
                self._entry(str(name), inner, f"{path}.{name}".strip("."), depth)
                for name, inner in named.items()
            )
        )

    def _entry(self, name: str, value: object, path: str, depth: int) -> Filter:
        if name in ("all", "any"):
            entries = cast("list[object]", value) if isinstance(value, list) else []
            if not entries:
                self.fault(path, "is to be a list with at least one filter")
            inner = tuple(
                self.whole(one, f"{path}[{index}]", depth + 1)
                for index, one in enumerate(entries[:_MOST_TERMS])
            )
            return Every(inner) if name == "all" else Some(inner)
        if name == "not":
            return Not(self.whole(value, path, depth + 1))
        field = _OLDER_NAMES.get(name) or (Field(name) if name in Field.__members__.values() else None)
        if field is None:
            self.fault(path, "is not a field that is known here")
            return Every(())
        if field is not Field.TAG:
            return self._compared(field, value, path, "")
        if not isinstance(value, dict) or not value:
            self.fault(path, 'is to be an object as {"line": "a"}')
            return Every(())
        tags = cast("dict[object, object]", value)
        return Every(
            tuple(self._compared(field, one, f"{path}.{key}", str(key)) for key, one in tags.items())
        )

    def _compared(self, field: Field, value: object, path: str, key: str) -> Filter:
        if not isinstance(value, dict):
            name = "in" if isinstance(value, list) else "eq"
            return self._term(field, name, cast("object", value), path, key)
        said = cast("dict[object, object]", value)
        if not said:
            self.fault(path, "says nothing")
        return Every(
            tuple(self._term(field, str(name), one, f"{path}.{name}", key) for name, one in said.items())
        )

    def _term(self, field: Field, name: str, value: object, path: str, key: str) -> Filter:
        self.terms += 1
        allowed, read = _KINDS[field]
        operator = next((one for one in allowed if one == name), None)
        if operator is None:
            self.fault(path, f"{field} is compared by {', '.join(sorted(allowed))}")
            return Every(())
        try:
            return Term(field, operator, _value(field, operator, value, read), _short_text(key))
        except ValueError as exc:
            self.fault(path, str(exc))
            return Every(())


def _value(field: Field, operator: Operator, value: object, read: Callable[[object], object]) -> object:
    if operator is Operator.EXISTS:
        if not isinstance(value, bool):
            raise ValueError(f"is to be true or false, not {shown(value)}")
        return value
    if field is Field.AGENT_VERSION and operator in _ORDER:
        return read_version(value)
    if operator not in _LISTS:
        return read(value)
    if not isinstance(value, list) or not 1 <= len(cast("list[object]", value)) <= _MOST_LISTED:
        raise ValueError(f"is to be a list of 1 to {_MOST_LISTED} values")
    return [read(one) for one in cast("list[object]", value)]
