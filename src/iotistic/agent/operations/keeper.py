"""Keeps the newest target and the wishes on top of it, and declares both together.

Invariants
- A wish is on disk before it is acted on and before anybody is told that it is taken. A disk that takes no
  writes refuses it; nothing is changed then.
- What is declared is always the newest target with the wishes that it did not overtake; those that it did
  are forgotten, so that they do not come back with an older target.
- A restart ends in the state that it was to end in, also when the agent dies on the way: the half that is
  still to be done is on disk. The container is the same one before and after.
"""

import asyncio
from collections.abc import Mapping

import structlog

from iotistic.agent.operations.room import Room
from iotistic.agent.operations.wishes import Wish, apply, in_force, read_wishes, write_wishes
from iotistic.kernel.errors import IotisticError
from iotistic.planning.model import ServiceKey, Target

log = structlog.get_logger()

_NAME = "operations"
_LOOK_S = 0.03


class Keeper:
    """The target and the wishes of one device."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._wishes: dict[ServiceKey, Wish] = {}
        self._base: Target | None = None
        self._woken = asyncio.Event()
        self._seen: object = None
        self._is_untidy = False
        """Whether wishes that were overtaken are still on the disk."""
        self.changing = asyncio.Lock()
        """To be held by whoever changes wishes."""

    async def load(self) -> None:
        """Take up the wishes that were made before the start."""
        self._wishes = read_wishes((await self._room.disk.load()).get(_NAME))

    @property
    def base(self) -> Target:
        """What was declared, without wishes."""
        return self._base or Target()

    @property
    def target(self) -> Target:
        """What was declared, with the wishes that are in force."""
        return apply(self.base, self._wishes)

    @property
    def wishes(self) -> Mapping[ServiceKey, Wish]:
        """The wishes."""
        return self._wishes

    @property
    def has_looked(self) -> bool:
        """Whether the loop has looked since something was declared last: what it saw before is of no use."""
        standing = self._room.loop.standing
        return standing.steps is not self._seen and not standing.engine_away

    def is_restarting(self, key: ServiceKey) -> bool:
        """Whether the first half of a restart is still to be done."""
        wish = self._wishes.get(key)
        return wish is not None and wish.is_restarting

    def rebase(self, target: Target) -> None:
        """Take a target, and forget the wishes that it overtakes."""
        self._base = target
        living = in_force(target, self._wishes)
        if living != self._wishes:
            for key in self._wishes.keys() - living.keys():
                log.info("wish.overtaken", app=key.app_id, service=key.service_id)
            self._wishes, self._is_untidy = living, True
        self.declare()

    def declare(self) -> None:
        """Tell the loop what is wanted now."""
        self.look()
        if self._base is not None:
            self._room.loop.declare(self.target)
        self._woken.set()

    def look(self) -> None:
        """Let the loop look again, and count nothing that it saw before."""
        self._seen = self._room.loop.standing.steps
        self._room.loop.look()

    async def put(self, made: Mapping[ServiceKey, Wish]) -> None:
        """Add wishes and keep them, without those that the target fulfils anyway. Raises StoreUnavailable."""
        wanted = {one.key: one.state for app in self.base.apps for one in app.services}
        needed = {
            key: wish
            for key, wish in {**self._wishes, **made}.items()
            if wish.is_restarting or wanted.get(key) is not wish.state
        }
        if needed != self._wishes or self._is_untidy:
            await self._room.disk.put(_NAME, write_wishes(needed) or None)
        # A target that came meanwhile has the last word.
        self._wishes = in_force(self.base, needed)

    async def run(self) -> None:
        """Bring restarts to their end, and clear the disk of what was overtaken, until cancelled."""
        while True:
            self._woken.clear()
            if self._is_untidy:
                await self._tidy()
            while any(wish.is_restarting for wish in self._wishes.values()):
                await self._begin_second_halves()
                await asyncio.sleep(_LOOK_S)
            await self._woken.wait()

    async def _begin_second_halves(self) -> None:
        """Let services whose container has ended start again."""
        if not self.has_looked:
            return
        up = {one.key for one in self._room.loop.standing.current.containers if one.is_up}
        async with self.changing:
            half = {
                key: wish._replace(is_restarting=False)
                for key, wish in self._wishes.items()
                if wish.is_restarting and key not in up
            }
            if not half or not self.has_looked:
                return
            try:
                await self.put(half)
            except IotisticError as exc:  # to leave it stopped would be worse than to restart it once more
                log.warning("wish.not_kept", code=exc.code, reason=exc.message)
                self._wishes = in_force(self.base, {**self._wishes, **half})
            self.declare()

    async def _tidy(self) -> None:
        async with self.changing:
            try:
                await self._room.disk.put(_NAME, write_wishes(self._wishes) or None)
            except IotisticError as exc:  # with the next change, then
                log.warning("wish.not_kept", code=exc.code, reason=exc.message)
            else:
                self._is_untidy = False
