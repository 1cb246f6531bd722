"""What people on the device can ask for; stands between whoever brings targets and the reconciler.

    follower --target--> Operations --target with wishes--> Reconciler

Whether an app holds its lock is asked before anything is changed. `force` takes it away, for this one app.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from enum import StrEnum

import structlog

from iotistic.agent.operations import outcome
from iotistic.agent.operations.finding import find_app, find_purgeable, find_service
from iotistic.agent.operations.keeper import Keeper
from iotistic.agent.operations.outcome import Outcome
from iotistic.agent.operations.room import Room
from iotistic.agent.operations.wishes import Wish, version_of
from iotistic.agent.reconcile.locks import LockHeld
from iotistic.planning.model import Release, Service, ServiceKey, ServiceState, Status, Target
from iotistic.planning.steps import Start

log = structlog.get_logger()

_LOOK_S = 0.03
_GIVES_UP_AFTER_S = 2.0
"""How long nothing can be done now before a caller that waits is told why."""


class Verb(StrEnum):
    """What can be asked of services."""

    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESTART = "restart"


_STATES = {
    Verb.START: ServiceState.RUNNING,
    Verb.STOP: ServiceState.STOPPED,
    Verb.PAUSE: ServiceState.PAUSED,
    Verb.RESTART: ServiceState.RUNNING,
}


class Operations:
    """What people on the device can ask for."""

    def __init__(self, room: Room) -> None:
        self._room, self._keeper = room, Keeper(room)

    @classmethod
    async def open(cls, room: Room) -> "Operations":
        """Return operations with the wishes that were made before the start."""
        operations = cls(room)
        await operations._keeper.load()
        return operations

    @property
    def base(self) -> Target:
        """What was declared, without wishes."""
        return self._keeper.base

    @property
    def target(self) -> Target:
        """What was declared, with the wishes that are in force."""
        return self._keeper.target

    @property
    def wishes(self) -> Mapping[ServiceKey, Wish]:
        """The wishes in force."""
        return dict(self._keeper.wishes)

    def declare(self, target: Target) -> None:
        """Take a target, and forget the wishes that it overtakes."""
        self._keeper.rebase(target)

    async def run(self) -> None:
        """Bring restarts to their end, until cancelled."""
        await self._keeper.run()

    async def service(
        self, verb: Verb, wanted: str, *, app: str = "", force: bool = False, wait_s: float = 0.0
    ) -> Outcome:
        """Start, stop, pause or restart one service, by its id or name.

        Raises ServiceUnknown, AppUnknown, NameAmbiguous, LockHeld and StoreUnavailable.
        """
        found, service = find_service(self.target, wanted, app)
        return await self._change(verb, found.id, {service: _STATES[verb]}, force=force, wait_s=wait_s)

    async def app(self, verb: Verb, wanted: str, *, force: bool = False, wait_s: float = 0.0) -> Outcome:
        """Start, stop, pause or restart every service of an app, by its id or name.

        A restart leaves services that are to be stopped stopped, and paused ones are paused afterwards.
        Raises AppUnknown, NameAmbiguous, LockHeld and StoreUnavailable.
        """
        found = find_app(self.target, wanted)
        states = dict.fromkeys(found.services, _STATES[verb])
        if verb is Verb.RESTART:
            lasting = {one: self._lasting(one) for one in found.services}
            states = {one: state for one, state in lasting.items() if state is not ServiceState.STOPPED}
        return await self._change(verb, found.id, states, force=force, wait_s=wait_s)

    async def purge(self, wanted: str, *, force: bool = False, wait_s: float = 0.0) -> Outcome:
        """Remove the data of an app: its containers end, its volumes go, and what is wanted is made anew.

        Raises AppUnknown, NameAmbiguous, LockHeld and LocksUnavailable.
        """
        room, began = self._room, self._room.clock()
        app_id = find_purgeable(self.target, room.loop.standing.current, wanted)
        async with self._keeper.changing:
            await self._respect(app_id, force=force)
            volumes = room.loop.standing.current.volumes
            dated = [made_at for volume, made_at in volumes.items() if volume.app_id == app_id]
            room.record.purged_at[app_id] = max(
                began, *dated
            )  # also those that a clock ahead of its time dated
            await room.save(room.record)
        log.info("app.purge_asked", app=app_id, forced=force)
        self._keeper.look()
        keys = [one.key for app in self.base.apps if app.id == app_id for one in app.services]
        return await self._outcome(app_id, keys, began, wait_s, is_purge=True)

    async def _change(
        self, verb: Verb, app_id: str, states: Mapping[Service, ServiceState], *, force: bool, wait_s: float
    ) -> Outcome:
        began = self._room.clock()
        async with self._keeper.changing:
            if verb is not Verb.START:
                await self._respect(app_id, force=force)
            await self._keeper.put(self._wished(verb, app_id, states))
            if verb in (Verb.START, Verb.RESTART):
                await self._let_start(states)
            names = [one.name for one in states]
            log.info("services.change_asked", verb=str(verb), app=app_id, services=names, forced=force)
            self._keeper.declare()
        return await self._outcome(app_id, [one.key for one in states], began, wait_s)

    def _wished(
        self, verb: Verb, app_id: str, states: Mapping[Service, ServiceState]
    ) -> dict[ServiceKey, Wish]:
        version = next((version_of(app) for app in self.base.apps if app.id == app_id), "")
        return {
            one.key: Wish(state, version, verb is Verb.RESTART and self._may_be_up(one.key))
            for one, state in states.items()
        }

    def _may_be_up(self, key: ServiceKey) -> bool:
        standing = self._room.loop.standing
        ups = (one.key == key and one.is_up for one in standing.current.containers)
        return bool(standing.engine_away) or any(ups)

    def _lasting(self, service: Service) -> ServiceState:
        """Return the state a service is to be in, after a restart that is under way."""
        wish = self._keeper.wishes.get(service.key)
        return wish.state if wish is not None else service.state

    async def _respect(self, app_id: str, *, force: bool) -> None:
        """Honour an app's lock, or take it. Raises LockHeld and LocksUnavailable."""
        room = self._room
        if self.base.options.force or app_id in room.record.held or app_id not in room.locks.locked():
            return
        if not force:
            raise LockHeld(f"the app {app_id} holds its lock", hint="wait until it lets go, or use force")
        await room.locks.take(app_id, force=True)
        room.record.held.add(app_id)
        log.warning("lock.forced", app=app_id)

    async def _let_start(self, services: Iterable[Service]) -> None:
        """Let services start at once that crashed, failed, or had done what they were for: a person asked for it."""
        record, current = self._room.record, self._room.loop.standing.current
        for one in services:
            record.crashes.pop(Release(one.key, one.config), None)
            failed = [
                step for step in record.failures if isinstance(step, Start) and step.service.key == one.key
            ]
            for step in failed:
                del record.failures[step]
            ended = [it.id for it in current.containers if it.key == one.key and it.status is Status.EXITED]
            record.stopped.update(ended)
        await self._room.save(record)

    async def _outcome(
        self,
        app_id: str,
        keys: list[ServiceKey],
        began: float,
        wait_s: float,
        *,
        is_purge: bool = False,
    ) -> Outcome:
        """Wait until an operation is done, or cannot go on now, or the time is over."""
        standing, purged = self._room.loop.standing, app_id if is_purge else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(wait_s, 0.0)):
                while not self._is_done(keys, purged) and not self._is_stuck(began):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        services = outcome.services_of(self.target, keys)
        done = self._is_done(keys, purged)
        waiting = () if done else outcome.waiting_for(services, app_id, standing.steps, standing.engine_away)
        took_s = round(self._room.clock() - began, 3)
        return Outcome(done, outcome.describe(services, standing.current), waiting, took_s)

    def _is_done(self, keys: list[ServiceKey], purged: str | None) -> bool:
        current = self._room.loop.standing.current
        if not self._keeper.has_looked or any(map(self._keeper.is_restarting, keys)):
            return False
        if purged in self._room.record.purged_at:
            return False
        return all(outcome.is_met(one, current) for one in outcome.services_of(self.target, keys))

    def _is_stuck(self, began: float) -> bool:
        """Whether nothing could be done for a while, and somebody says why."""
        standing, now = self._room.loop.standing, self._room.clock()
        if standing.engine_away:
            return now - began >= _GIVES_UP_AFTER_S
        if not self._keeper.has_looked or standing.settled_at is None or not standing.steps:
            return False
        return now - max(standing.settled_at, began) >= _GIVES_UP_AFTER_S
