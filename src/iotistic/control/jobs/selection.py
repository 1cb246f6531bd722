"""A selection of devices as a condition in SQL: fixed texts, and a parameter for every value.

Queries start with `FROM fleet_devices d WHERE <condition>`, and the condition with what the caller may see.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast
from uuid import UUID

import structlog

from iotistic.control.jobs.filters import (
    Every,
    Field,
    Filter,
    FilterInvalid,
    Not,
    Operator,
    Some,
    Term,
    read_filter,
)
from iotistic.control.jobs.model import OrderInvalid, Selection, TargetKind

log = structlog.get_logger()

_MOST_DEVICES = 10_000
_VERSION = (
    # What begins with a version counts as that: 2.4.1-rc1. Anything else is neither before nor after one.
    "CASE WHEN d.agent_version ~ '^v?[0-9]{1,9}([.][0-9]{1,9}){0,3}([^0-9.]|$)' "
    "THEN string_to_array(substring(d.agent_version from '[0-9]+(?:[.][0-9]+)*'), '.')::bigint[] END"
)
_COLUMNS: Mapping[Field, tuple[str, str]] = {
    Field.UUID: ("d.uuid", "uuid"),
    Field.NUMBER: ("d.number", "bigint"),
    Field.NAME: ("d.name", "text"),
    Field.TYPE: ("d.type", "text"),
    Field.FLEET_ID: ("d.fleet_id", "text"),
    Field.APPLICATION_ID: ("d.application_id", "text"),
    Field.MAC_ADDRESS: ("d.mac_address", "text"),
    Field.OS_VERSION: ("d.os_version", "text"),
    Field.AGENT_VERSION: ("d.agent_version", "text"),
    Field.CREATED_AT: ("d.created_at", "timestamptz"),
    Field.TAG: ("t.value", "text"),
}
_COMPARED: Mapping[Operator, Callable[[str, str], str]] = {
    Operator.EQ: lambda column, value: f"{column} = {value}",
    Operator.NE: lambda column, value: f"{column} <> {value}",
    Operator.IN: lambda column, value: f"{column} = ANY({value})",
    Operator.NOT_IN: lambda column, value: f"{column} <> ALL({value})",
    Operator.STARTS_WITH: lambda column, value: f"starts_with({column}, {value})",
    Operator.CONTAINS: lambda column, value: f"position({value} in {column}) > 0",
    Operator.LT: lambda column, value: f"{column} < {value}",
    Operator.LE: lambda column, value: f"{column} <= {value}",
    Operator.GT: lambda column, value: f"{column} > {value}",
    Operator.GE: lambda column, value: f"{column} >= {value}",
}
_LISTS = frozenset({Operator.IN, Operator.NOT_IN})
_ORDER = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_OPPOSITE = {Operator.NE: Operator.EQ, Operator.NOT_IN: Operator.IN}


class Statement:
    """Parameters as they are collected; `first` of them are the statement's own."""

    def __init__(self, *first: object) -> None:
        self.parameters: list[object] = list(first)

    def add(self, value: object, kind: str) -> str:
        """Return the place of a further parameter."""
        self.parameters.append(value)
        return f"${len(self.parameters)}::{kind}"

    def selected(self, selection: Selection, scope: Sequence[UUID] | None) -> str:
        """Return the condition that a device is selected, beginning with what may be seen."""
        place = self.add(None if scope is None else list(scope), "uuid[]")
        seen = f"({place} IS NULL OR d.uuid = ANY({place}))"
        if selection.kind is TargetKind.DEVICE:
            return f"{seen} AND d.uuid = ANY({self.add(list(selection.devices), 'uuid[]')})"
        chosen = "true" if selection.filter is None else self._condition(selection.filter)
        return f"{seen} AND d.is_active AND {chosen}"

    def _condition(self, condition: Filter) -> str:
        match condition:
            case Every(of):
                return self._joined(" AND ", of) if of else "true"
            case Some(of):
                return self._joined(" OR ", of)
            case Not(of):
                # What cannot be compared (no version) is not what the filter says either.
                return f"({self._condition(of)}) IS NOT TRUE"
            case Term():
                return self._tagged(condition) if condition.field is Field.TAG else self._term(condition)

    def _joined(self, word: str, of: Sequence[Filter]) -> str:
        return "(" + word.join(self._condition(one) for one in of) + ")"

    def _term(self, term: Term) -> str:
        column, kind = _COLUMNS[term.field]
        if term.field is Field.AGENT_VERSION and term.operator in _ORDER:
            column, kind = f"({_VERSION})", "bigint[]"
        elif term.operator in _LISTS:
            kind += "[]"
        return _COMPARED[term.operator](column, self.add(term.value, kind))

    def _tagged(self, term: Term) -> str:
        """A device without the tag differs from every value of it."""
        key = self.add(term.key, "text")
        found = f"EXISTS (SELECT 1 FROM device_tags t WHERE t.device_uuid = d.uuid AND t.key = {key}"  # noqa: S608  a place
        if term.operator is Operator.EXISTS:
            return f"{found})" if term.value else f"NOT {found})"
        operator = _OPPOSITE.get(term.operator, term.operator)
        compared = f"{found} AND {self._term(Term(term.field, operator, term.value))})"
        return compared if operator is term.operator else f"NOT {compared}"


def read_selection(
    kind: TargetKind, devices: Sequence[UUID], asked: Mapping[str, object] | None
) -> Selection:
    """Return a selection. Raises OrderInvalid, FilterInvalid."""
    if kind is TargetKind.DEVICE:
        if not 1 <= len(devices) <= _MOST_DEVICES or asked:
            raise OrderInvalid(
                f"a job for devices names 1 to {_MOST_DEVICES} of them and no filter",
                hint="list them in target_devices, or choose the target_type group",
            )
        return Selection(kind=kind, devices=tuple(sorted(set(devices))))
    if devices:
        raise OrderInvalid("only a job of target_type device names devices", field="target_devices")
    if kind is TargetKind.ALL:
        if asked:
            raise OrderInvalid("a job for all devices has no filter", hint="choose the target_type group")
        return Selection(kind=kind)
    if not asked:
        raise OrderInvalid("a job for a group needs a filter", field="target_filter")
    return Selection(kind=kind, filter=read_filter(asked), asked=dict(asked))


def write_selection(selection: Selection) -> dict[str, object]:
    """Return a selection as it is kept."""
    listed = [str(device) for device in selection.devices]
    return {"kind": selection.kind.value, "devices": listed, "filter": dict(selection.asked)}


def kept_selection(kept: Mapping[str, object]) -> Selection:
    """Return a selection that was kept."""
    kind, asked, devices = TargetKind(str(kept["kind"])), kept["filter"], kept["devices"]
    try:
        chosen = read_filter(asked) if asked else None
    except FilterInvalid as exc:  # of another release: nobody rather than everybody
        log.warning("job.filter_unreadable", reason=exc.message)
        chosen = Not(Every(()))
    return Selection(
        kind=kind,
        devices=tuple(UUID(one) for one in cast("list[str]", devices)),
        filter=chosen,
        asked=cast("dict[str, object]", asked),
    )
