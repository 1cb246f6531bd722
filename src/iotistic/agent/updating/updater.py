"""Takes orders for another version of the agent, carries them out, and tries out what was installed.

Promises:
- The version that runs goes on until the next one is whole on the disk; a kill at any moment leaves one that runs.
- An order is carried out once, however often it comes: a retained message comes with every connection.
- What became of an order is kept until the cloud has it.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from iotistic.agent.updating.deciding import due_at, is_here
from iotistic.agent.updating.errors import UpdateNotInstalled, UpdateNotSetUp
from iotistic.agent.updating.installing import Installer
from iotistic.agent.updating.launching import back, launched, versions_folder
from iotistic.agent.updating.release import MOST_DESCRIPTION, Release, description_name, read_release
from iotistic.agent.updating.settings import UpdateSettings
from iotistic.agent.updating.source import Source
from iotistic.agent.updating.standing import Chosen, Standing, load, save
from iotistic.contracts.agent_updates import Said, UpdateOrder, UpdateReport, read_order
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_LOOK_S, _TRIAL_LOOK_S = 30.0, 0.5
_ASK_S, _ASK_SELDOM_S = 1800.0, 21_600.0
_MOST_SIGNATURE = 4096
_MOST_WAIT_S = 100 * 86_400.0

Document = Mapping[str, Any]


class Road(Protocol):
    """How the cloud is reached about updates."""

    @property
    def is_announced(self) -> bool:
        """Whether orders come by themselves at the moment."""
        ...

    async def order(self) -> object | None:
        """Ask for the order that waits; None for none. Raises IotisticError."""
        ...

    async def tell(self, report: Document) -> None:
        """Return once the cloud has a report. Raises IotisticError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Around:
    """What an updater needs of the rest of the agent."""

    data: Path
    running: str
    """The version of this process."""
    road: Road
    clock: Callable[[], float]
    look: Callable[[], Awaitable[object]]
    """Looks at the containers; raises IotisticError while the engine does not answer."""
    restart: Callable[[], None] | None


class Updater:
    """Of one agent."""

    def __init__(
        self, settings: UpdateSettings, around: Around, *, installer: Installer | None = None
    ) -> None:
        self._settings, self._around = settings, around
        self._folder = versions_folder(around.data)
        self._installer = installer or Installer(around.data)
        self._standing = load(self._folder)
        self._woken = asyncio.Event()
        self._ask_at = 0.0

    def notice(self, document: Document) -> None:
        """Hear an order, as announced."""
        self._take(document)

    def ask_now(self) -> None:
        """Ask the cloud soon whether something is ordered."""
        self._ask_at = 0.0
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        if not await self._try_out():
            return  # another process takes over
        while True:
            self._woken.clear()
            await self._ask()
            await self._tell()
            await self._work()
            await self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._woken.wait()

    def status(self) -> Document:
        """Return how it stands, for people."""
        chosen, waiting = self._standing.chosen, self._standing.waiting
        return {
            "running": self._around.running,
            "on_trial": chosen is not None and chosen.is_trial,
            "waiting_for": None if waiting is None else waiting.get("version"),
            "takes_updates": bool(self._settings.agent_update_source and self._settings.agent_update_key),
        }

    async def _try_out(self) -> bool:
        """Return whether this version is to go on."""
        chosen = self._standing.chosen
        if chosen is None or not chosen.is_trial or launched() != chosen.version:
            return True
        if not await self._proves_itself(chosen):
            why = f"it did not reach containers and cloud within {chosen.trial_s} s"
            self._keep(back(self._standing, chosen, why, self._around.clock())[0])
            log.warning("update.rolled_back", version=chosen.version, reason=why)
            self._restart()
            return False
        order = UpdateOrder(chosen.version, chosen.update_id)
        report = self._report(Said.SUCCEEDED, order, version=chosen.version)
        kept = replace(self._standing, chosen=replace(chosen, is_trial=False), waiting=None)
        self._keep(kept.ended(chosen.mark, report))
        signal.alarm(0)
        self._installer.keep_only(chosen.version, chosen.before)
        log.info("update.proved", version=chosen.version)
        return True

    async def _proves_itself(self, chosen: Chosen) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chosen.trial_s):
                while True:
                    with contextlib.suppress(IotisticError):
                        await self._around.look()
                        await (
                            self._around.road.order()
                        )  # the cloud knows this device, also when it orders nothing
                        return True
                    await asyncio.sleep(_TRIAL_LOOK_S)
        return False

    async def _ask(self) -> None:
        now = self._around.clock()
        if now < self._ask_at <= now + _ASK_SELDOM_S:
            return
        try:
            document = await self._around.road.order()
        except IotisticError as exc:
            log.debug("update.not_asked", code=exc.code)
            self._ask_at = now + _LOOK_S * 2
            return
        self._ask_at = now + (_ASK_SELDOM_S if self._around.road.is_announced else _ASK_S)
        if document is not None:
            self._take(document)

    def _take(self, document: object) -> None:
        if document == {}:
            return
        order, faults = read_order(document)
        if order is None:
            log.warning("update.order_refused", faults=[str(fault) for fault in faults])
            return
        if (word := self._standing.done.get(order.mark)) is not None:
            self._untold(word)  # it would not come again, had the cloud heard that
        elif self._standing.waiting is None or _mark(self._standing.waiting) != order.mark:
            self._keep(replace(self._standing, waiting=order.as_fields()))
            self._untold(self._report(Said.RECEIVED, order))
        self._woken.set()

    async def _work(self) -> None:
        if self._standing.waiting is None:
            return
        order, _ = read_order(self._standing.waiting)
        if order is None:
            self._keep(replace(self._standing, waiting=None))
            return
        try:
            await self._carry_out(order)
        except IotisticError as exc:
            log.warning("update.failed", version=order.version, code=exc.code, reason=exc.message)
            self._end(order, self._report(Said.FAILED, order, code=exc.code, message=_said(exc)))

    async def _carry_out(self, order: UpdateOrder) -> None:
        around, settings = self._around, self._settings
        if is_here(order, order.version, around.running):
            self._end(order, self._report(Said.SUCCEEDED, order, message="it runs already"))
            return
        source = self._source()
        now = around.clock()
        due = due_at(order, settings.update_window, now)
        if now < due <= now + _MOST_WAIT_S:
            self._once(self._report(Said.SCHEDULED, order))
            return
        release = await self._release(order, source)
        if is_here(order, release.version, around.running):
            report = self._report(Said.SUCCEEDED, order, version=release.version, message="it runs already")
            self._end(order, report)
            return
        self._untold(self._report(Said.STARTED, order, version=release.version))
        await self._tell()
        await self._installer.install(release, source)
        self._choose(order, release)

    def _choose(self, order: UpdateOrder, release: Release) -> None:
        """Let the next start try the new version."""
        running, current = self._around.running, self._standing.chosen
        runs_chosen = current is not None and current.version == running
        chosen = Chosen(
            release.version,
            running if current is None else current.base,
            order.mark,
            order.update_id,
            before=running if runs_chosen else "",
            trial_s=self._settings.agent_update_trial_s,
        )
        if not self._keep(replace(self._standing, chosen=chosen, waiting=None)):
            raise UpdateNotInstalled("the disk does not take which version is to run")
        log.info("update.installed", version=release.version, before=running)
        self._restart()

    def _source(self) -> Source:
        settings = self._settings
        if not settings.agent_update_source or not settings.agent_update_key:
            raise UpdateNotSetUp(hint="set AGENT_UPDATE_SOURCE and AGENT_UPDATE_KEY on the device")
        if self._around.restart is None:
            raise UpdateNotSetUp("this agent was started in a way in which it cannot start itself anew")
        return Source(settings.agent_update_source)

    async def _release(self, order: UpdateOrder, source: Source) -> Release:
        name = description_name(order.version)
        description = await source.read(name, most=MOST_DESCRIPTION)
        signature = await source.read(f"{name}.sig", most=_MOST_SIGNATURE)
        return read_release(order.version, description, signature, self._settings.agent_update_key)

    async def _tell(self) -> None:
        while self._standing.untold:
            first = self._standing.untold[0]
            try:
                await self._around.road.tell(first)
            except IotisticError as exc:
                if not _is_final_refusal(exc):
                    log.debug("update.not_told", code=exc.code)
                    return
                log.warning("update.word_refused", code=exc.code, reason=exc.message)
            if self._standing.untold and self._standing.untold[0] is first:
                self._keep(replace(self._standing, untold=self._standing.untold[1:]))

    def _end(self, order: UpdateOrder, report: Document) -> None:
        self._keep(replace(self._standing, waiting=None).ended(order.mark, report))

    def _once(self, report: Document) -> None:
        """Have something told unless it was told already, with the order that waits."""
        waiting = dict(self._standing.waiting or {})
        if waiting.get("told") != report["type"]:
            self._keep(replace(self._standing, waiting={**waiting, "told": report["type"]}))
            self._untold(report)

    def _untold(self, report: Document) -> None:
        if report not in self._standing.untold:
            self._keep(replace(self._standing, untold=(*self._standing.untold, report)))

    def _report(
        self, said: Said, order: UpdateOrder, *, version: str = "", code: str = "", message: str = ""
    ) -> Document:
        report = UpdateReport(
            said, version or order.version, order.update_id, self._around.running, code, message
        )
        return report.as_fields(self._around.clock())

    def _keep(self, standing: Standing) -> bool:
        """Return whether the disk has it; what only waits for being told is told from memory otherwise."""
        self._standing = standing
        try:
            save(self._folder, standing)
        except OSError as exc:
            log.warning("update.not_kept", reason=exc.strerror)
            return False
        return True

    def _restart(self) -> None:
        if self._around.restart is not None:
            self._around.restart()


def _mark(waiting: Document) -> str:
    order, _ = read_order(waiting)
    return "" if order is None else order.mark


def _said(error: IotisticError) -> str:
    return f"{error.message.removesuffix('.')}: {error.hint}" if error.hint else error.message


def _is_final_refusal(error: IotisticError) -> bool:
    """Whether the cloud has heard it and will never take it: an order that was removed, a cloud of before."""
    return error.code == "cloud.refused"
