"""The state of a device at a time, how it came to be, and what differs between two times. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from iotistic.control.audit.events import OFFLINE, ONLINE, STATE_UPDATED, TARGET_UPDATED

PARTS: Mapping[str, str] = {
    TARGET_UPDATED: "target_state",
    STATE_UPDATED: "current_state",
    ONLINE: "presence",
    OFFLINE: "presence",
}
"""Which part of a device's state an event replaces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """An event as it is read back; `is_whole` tells whether its data fit its checksum."""

    id: int
    event_id: str
    at: datetime
    kind: str
    data: Mapping[str, Any]
    is_whole: bool = True


@dataclass(kw_only=True, slots=True)
class DeviceState:
    """What is known of a device at a time; parts that nobody said anything about are empty."""

    parts: dict[str, Mapping[str, Any]] = field(default_factory=lambda: {name: {} for name in PARTS.values()})
    errors: list[str] = field(default_factory=list[str])

    def apply(self, event: Happened) -> None:
        """Go on by one event; one that does not fit its checksum is named and still counts."""
        if not event.is_whole:
            self.errors.append(
                f"event {event.id} ({event.kind}) is not what was written: its checksum differs"
            )
        part = PARTS.get(event.kind)
        if part is None:
            return
        state = event.data.get("state")
        if isinstance(state, Mapping):
            self.parts[part] = cast("Mapping[str, Any]", state)
        else:
            self.errors.append(f"event {event.id} ({event.kind}) tells no state")


def replay(start: Iterable[Happened], events: Iterable[Happened]) -> DeviceState:
    """Return the state after `events`, from the state that the newest events before them (`start`) tell."""
    state = DeviceState()
    for event in (*start, *events):
        state.apply(event)
    return state


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A field that differs; `events` are those in between that told of its part."""

    field: str
    old: object
    new: object
    events: list[str]


def compare(one: DeviceState, other: DeviceState, between: Sequence[Happened]) -> list[Change]:
    """Return the fields that differ, by their paths."""
    old, new = dict(_leaves(one.parts, "")), dict(_leaves(other.parts, ""))
    return [
        Change(field=path, old=old.get(path), new=new.get(path), events=_telling(path, between))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and (fields := cast("Mapping[str, object]", value)):
        for name, item in fields.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and (items := cast("list[object]", value)):
        for number, item in enumerate(items):
            yield from _leaves(item, f"{path}[{number}]")
    elif path and value not in ({}, []):
        yield path, value


def _telling(path: str, between: Sequence[Happened]) -> list[str]:
    part, _, rest = path.partition(".")
    name = rest.partition(".")[0].partition("[")[0]
    return [
        event.event_id
        for event in between
        if PARTS.get(event.kind) == part and name in event.data.get("changed", (name,))
    ]
