"""Which devices are meant: filters, tag selectors, a scope; and their SQL. Pure.

Only constants of this module and numbers of parameters ever become text of a statement.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

_MAC = re.compile(r"[0-9a-f]{2}(?:[:.-][0-9a-f]{2})+")
_TRIGRAM = 3


class Lifecycle(StrEnum):
    """What an operator made of a device."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class Operator(StrEnum):
    """How a tag is compared."""

    IN = "in"
    NOT_IN = "not-in"
    EXISTS = "exists"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class TagSelector:
    """Devices by a tag; `values` is empty for EXISTS and MISSING. A device without the key is NOT_IN too."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFilter:
    """What a device has to be; everything that is given has to hold. `scope` None is all of the tenant."""

    scope: Sequence[UUID] | None = None
    text: str | None = None
    """Part of a name, uuid, MAC (with separators or without), type or address; of one or two characters, how a
    name begins."""
    name: str | None = None
    mac: str | None = None
    types: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    lifecycle: Lifecycle | None = None
    is_online: bool | None = None
    seen_before: datetime | None = None
    tags: tuple[TagSelector, ...] = ()

    @property
    def asks_presence(self) -> bool:
        """Whether something is asked of device_presence."""
        return self.is_online is not None or self.seen_before is not None

    @property
    def asks_only_presence(self) -> bool:
        """Whether nothing is asked of anything else."""
        return self.asks_presence and replace(self, is_online=None, seen_before=None) == DeviceFilter()


class Statement:
    """Conditions and the parameters that they speak of, in step."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.parameters: list[object] = []

    def parameter(self, value: object) -> str:
        """Add a parameter; return how a statement names it."""
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def where(self, condition: str, *values: object) -> None:
        """Add a condition; each {} in it is one of the values."""
        self.conditions.append(condition.format(*(self.parameter(value) for value in values)))

    @property
    def text(self) -> str:
        """All conditions."""
        return " AND ".join(self.conditions) or "true"


def select(wanted: DeviceFilter) -> Statement:
    """Return the conditions on fleet_devices d and device_presence p."""
    statement = Statement()
    if wanted.scope is not None:
        statement.where("d.uuid = ANY({}::uuid[])", list(wanted.scope))
    _standing(statement, wanted)
    if wanted.name is not None:
        statement.where("lower(d.name) = lower({}::text)", wanted.name)
    for text in filter(None, (wanted.text, wanted.mac)):
        _searched(statement, text)
    columns = {"d.type": wanted.types, "d.fleet_id": wanted.fleets, "d.agent_version": wanted.versions}
    for column, values in columns.items():
        if values:
            _among(statement, column, values)
    for selector in wanted.tags:
        _tagged(statement, selector)
    return statement


def _standing(statement: Statement, wanted: DeviceFilter) -> None:
    if wanted.is_online is not None:
        statement.where("p.is_online" if wanted.is_online else "NOT p.is_online")
    if wanted.lifecycle is not None:
        statement.where("d.is_active" if wanted.lifecycle is Lifecycle.ACTIVE else "NOT d.is_active")
    if wanted.seen_before is not None:
        statement.where("p.seen_at < {}", wanted.seen_before)


def _among(statement: Statement, column: str, values: Sequence[str]) -> None:
    # One value keeps the order of the index behind it; several do not.
    if len(values) == 1:
        statement.where(column + " = {}::text", values[0])
    else:
        statement.where(column + " = ANY({}::text[])", list(values))


def _tagged(statement: Statement, selector: TagSelector) -> None:
    having = "EXISTS (SELECT FROM device_tags t WHERE t.device_uuid = d.uuid AND t.key = {}::text"
    match selector.operator:
        case Operator.EXISTS:
            statement.where(having + ")", selector.key)
        case Operator.MISSING:
            statement.where("NOT " + having + ")", selector.key)
        case Operator.IN:
            statement.where(having + " AND t.value = ANY({}::text[]))", selector.key, list(selector.values))
        case Operator.NOT_IN:
            statement.where(
                "NOT " + having + " AND t.value = ANY({}::text[]))", selector.key, list(selector.values)
            )


def _searched(statement: Statement, text: str) -> None:
    wanted = text.strip().lower()
    if _MAC.fullmatch(wanted):
        wanted = re.sub(r"[:.-]", "", wanted)
    escaped = re.sub(r"([\\%_])", r"\\\1", wanted)
    if len(wanted) < _TRIGRAM:
        statement.where("lower(d.name) LIKE {}::text", f"{escaped}%")
    else:
        statement.where("d.search_text LIKE {}::text", f"%{escaped}%")
