"""What a controller can be told, checked before it obeys."""

import json
from dataclasses import dataclass
from typing import cast

from iotistic.contracts.f2 import MAX_PERIOD_S, CommandInvalid, F2Topic, PowerFlag, TopicKind, parse_topic
from iotistic.simulation.f2.people import STRIKE_OPEN_S


@dataclass(frozen=True, slots=True)
class Switch:
    """Turn a strike or siren on or off; on ends by itself after `period_s` unless that is 0."""

    topic: F2Topic
    on: bool
    period_s: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """Say what state a component is in."""

    topic: F2Topic


@dataclass(frozen=True, slots=True)
class Accept:
    """Show at a reader that the card was accepted."""

    topic: F2Topic


Command = Switch | Query | Accept


def parse_command(topic_text: bytes, payload: bytes) -> Command:
    """Return what a message on `cmnd/...` asks for. Raises CommandInvalid or TopicInvalid."""
    topic = parse_topic(topic_text.decode("utf-8", "replace"))
    kind = topic.component.partition("-")[0]
    if topic.kind is not TopicKind.COMMAND or kind == "sensor" or (kind == "reader") != topic.success:
        raise CommandInvalid(f"{topic.component} takes no such command")
    if topic.success:
        return Accept(topic)
    if not payload.strip():
        return Query(topic)
    if kind == "strike":
        return _strike(topic, payload)
    if kind == "siren" and payload.strip() in (b"0", b"1"):
        return Switch(topic, on=payload.strip() == b"1")
    raise CommandInvalid(
        f"{topic.component} does not understand this", hint="an empty payload asks for the state"
    )


def _strike(topic: F2Topic, payload: bytes) -> Switch:
    try:
        given = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise CommandInvalid('a strike takes {"power-flag": 0|1|2, "period": seconds}') from exc
    if not isinstance(given, dict):
        raise CommandInvalid('a strike takes {"power-flag": 0|1|2, "period": seconds}')
    fields = cast("dict[str, object]", given)
    flag = _whole(fields, "power-flag", most=max(PowerFlag))
    period_s = _whole(fields, "period", most=MAX_PERIOD_S, default=0)
    if flag == PowerFlag.PULSE:
        period_s = period_s or STRIKE_OPEN_S
    return Switch(topic, on=flag != PowerFlag.OFF, period_s=period_s if flag else 0)


def _whole(fields: dict[str, object], name: str, *, most: int, default: int | None = None) -> int:
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise CommandInvalid(f"{name} is a whole number from 0 to {most}")
    return value
