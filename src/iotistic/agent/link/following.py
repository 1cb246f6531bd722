"""Keeps up with the target that the cloud has for this device.

A target that cannot be understood changes nothing: the one before stays in force, and the faults are told.
What was understood is kept on disk before it is acted on, so that the device works on it after a power cut
without a network.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from iotistic.agent.link.cloud import TargetAnswer
from iotistic.agent.link.pacing import Pace, Reach
from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.planning.faults import Fault
from iotistic.planning.model import Target
from iotistic.planning.target import read_target

log = structlog.get_logger()


class TargetSource(Protocol):
    """Where targets come from."""

    async def target(self, etag: str) -> TargetAnswer:
        """Return the target. Raises IotisticError."""
        ...


@dataclass(frozen=True)
class Followed:
    """A target as it came, and what was wrong with it."""

    document: Mapping[str, Any]
    etag: str
    faults: tuple[Fault, ...] = ()

    @property
    def version(self) -> object:
        """The version that the cloud gave it."""
        return self.document.get("version")


@dataclass
class Around:
    """What following needs: the time, chance between 0 and 1, and where targets go."""

    clock: Callable[[], float]
    chance: Callable[[], float]
    declare: Callable[[Target], None]
    keep: Callable[[Followed], Awaitable[None]]


class Follower:
    """Asks for the target at this device's moment of each interval, and at once when it is told to."""

    def __init__(self, source: TargetSource, pace: Pace, around: Around) -> None:
        self._source, self._pace, self._around = source, pace, around
        self._now = asyncio.Event()
        self.in_force: Followed | None = None
        """The target that the device works on."""
        self.faults: tuple[Fault, ...] = ()
        """What is wrong with the newest one, if it is not in force."""
        self._etag, self._is_kept = "", True

    @property
    def reach(self) -> Reach:
        """How the cloud is reached."""
        return self._pace.reach

    def ask_now(self) -> None:
        """Ask without waiting: somebody said that there is something new."""
        self._now.set()

    def begin_with(self, kept: Followed | None) -> None:
        """Work on what was kept from before, until something newer comes."""
        if kept is not None:
            self._take(kept)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self._now.clear()
            at = await self._ask()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, at - self._around.clock())):
                    await self._now.wait()

    async def _ask(self) -> float:
        """Ask once; return when to ask again."""
        try:
            answer = await self._source.target(self._etag)
        except IotisticError as exc:
            log.warning(
                "target.not_received", code=exc.code, reason=exc.message, failures=self._pace.failures + 1
            )
            retry_after_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0
            return self._pace.failed(self._around.clock(), self._around.chance(), retry_after_s=retry_after_s)
        if answer.document is not None:
            await self._receive(Followed(answer.document, answer.etag))
        elif self.in_force is not None and not self._is_kept:
            await self._keep(self.in_force)
        return self._pace.succeeded(self._around.clock())

    async def _receive(self, followed: Followed) -> None:
        _, faults = read_target(followed.document)
        self._etag, self.faults = followed.etag, tuple(faults)
        if faults:
            log.error(
                "target.refused", version=followed.version, faults=[str(fault) for fault in faults[:20]]
            )
            return
        self._is_kept = True
        await self._keep(followed)
        self._take(followed)

    async def _keep(self, followed: Followed) -> None:
        was_kept, self._is_kept = self._is_kept, True
        try:
            await self._around.keep(followed)
        except IotisticError as exc:  # a full disk is no reason to run something old
            self._is_kept = False
            if was_kept:
                log.warning("target.not_kept", code=exc.code, reason=exc.message)

    def _take(self, followed: Followed) -> None:
        target, faults = read_target(followed.document)
        if faults:  # kept by a release that understood it
            self.faults = tuple(faults)
            return
        self.in_force, self._etag = followed, followed.etag
        self._around.declare(target)
        log.info("target.declared", version=followed.version, apps=len(target.apps))
