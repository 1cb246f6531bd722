"""Alerts out of transitions: from firing to resolved. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iotistic.control.alerts.evaluate import Change, Transition


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert; `ended` is None while it goes on."""

    fired: Transition
    ended: Transition | None = None


def episodes_of(transitions: Iterable[Transition]) -> Iterator[Episode]:
    """Yield the alerts that transitions of one subject tell of."""
    fired: Transition | None = None
    for one in transitions:
        if one.change is Change.FIRING:
            fired = one
        elif one.change is Change.RESOLVED and fired is not None:
            yield Episode(fired, one)
            fired = None
    if fired is not None:
        yield Episode(fired)
