"""What operations need of the rest of the agent."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from iotistic.agent.reconcile.reconciler import Standing
from iotistic.agent.reconcile.record import Record
from iotistic.planning.model import Target


class Loop(Protocol):
    """The reconciler."""

    standing: Standing

    def declare(self, target: Target) -> None:
        """Take a target."""
        ...

    def look(self) -> None:
        """Look again soon."""
        ...


class Disk(Protocol):
    """Names and values that outlive the process."""

    async def load(self) -> dict[str, Any]:
        """Return all of them."""
        ...

    async def put(self, name: str, value: Any) -> None:
        """Keep one; None removes it. Raises StoreUnavailable."""
        ...


class Locks(Protocol):
    """The locks of apps."""

    def locked(self) -> frozenset[str]:
        """Return the apps that hold their own lock now."""
        ...

    async def take(self, app_id: str, *, force: bool = False) -> None:
        """Take an app's lock, with `force` whoever holds it. Raises LockHeld and LocksUnavailable."""
        ...


@dataclass(frozen=True)
class Room:
    """The loop and its memory, where wishes and that memory are kept, locks, the time in seconds since 1970."""

    loop: Loop
    record: Record
    disk: Disk
    locks: Locks
    save: Callable[[Record], Awaitable[None]]
    clock: Callable[[], float] = time.time
