"""Devices that come back hear again of what waits for them.

An agent of the earlier system does not poll for jobs while it is at the broker, and has a clean session there: what
is said while it is away, it never hears. The shape of `note` is that of `presence.model.Journal`, named here so that
presence is not imported; whoever wires both passes this in.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from iotistic.control.jobs import due_parts


class Transition(Protocol):
    """A coming or going."""

    @property
    def device_uuid(self) -> str:
        """Whose."""
        ...

    @property
    def is_online(self) -> bool:
        """Whether it came."""
        ...


class JobReminder:
    """Listens to comings."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    async def note(self, db: Any, transitions: Sequence[Transition]) -> None:
        """Have devices that came told of their jobs, in the transaction of their coming."""
        if came := [UUID(one.device_uuid) for one in transitions if one.is_online]:
            await due_parts.remind(db, came, self._clock())
