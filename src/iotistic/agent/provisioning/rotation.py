"""Renews the device's API key before it ends, or when the cloud says that it is time.

Invariants:
- Two keys are on the disk from the moment that a new one is known: the new one, and the one before it for as
  long as the cloud takes it. If the new one is refused, the one before is used again.
- Nothing new is asked for unless the disk takes writes.
- An answer that is lost (the process ends, the network breaks) costs nothing: the old key is still good, its
  end is near, and so another new one is asked for.
- A key that came by MQTT is used only after the cloud has taken it over HTTP.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Self

import structlog

from iotistic.agent.link.errors import CloudDenied
from iotistic.agent.link.pacing import Pace
from iotistic.agent.provisioning.errors import DiskNotKept
from iotistic.agent.provisioning.keys import KeyHistory, KeyHistoryStore, KeyService
from iotistic.agent.store.store import Store
from iotistic.contracts.provisioning.fields import ProvisioningInvalid
from iotistic.contracts.provisioning.rotation import RotatedKey, read_notice
from iotistic.kernel.errors import IotisticError, Unavailable

log = structlog.get_logger()

_HOUR_S, _DAY_S = 3600.0, 86_400.0
_BEFORE_S = 7 * _DAY_S
_GRACE_S = 7 * _DAY_S
"""How long a key is taken to stay good after it was replaced, when the cloud does not say."""
_NOT_AGAIN_S = _DAY_S
"""A clock that is wrong must not renew without end."""
_NOTICED_AGAIN_S = 60.0


class KeyRotator:
    """Made by `open`. `api_key` is what speaks for the device, at any time."""

    def __init__(
        self,
        store: Store,
        service: KeyService,
        history: KeyHistory,
        *,
        uuid: str,
        api_key: str,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._store, self._service = store, service
        self._kept, self._history = KeyHistoryStore(store.metadata), history
        self._clock, self._chance = clock, chance
        self._pace = Pace(f"{uuid} key", _DAY_S)
        self._current = self._in_use = api_key
        self._notices: list[RotatedKey | None] = []
        self._wake = asyncio.Event()

    @classmethod
    async def open(
        cls,
        store: Store,
        service: KeyService,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> Self:
        """Return it as it was left. Raises StoreUnavailable."""
        identity, history = await store.device.load(), await KeyHistoryStore(store.metadata).load()
        key = identity.device_api_key
        return cls(store, service, history, uuid=identity.uuid, api_key=key, clock=clock, chance=chance)

    def api_key(self) -> str:
        """Return the key that is good now."""
        return self._in_use

    def refused(self, api_key: str) -> None:
        """Hear that the cloud did not know a key; the one before it is used from now on, if it may still be good."""
        if api_key == self._in_use == self._current and self._has_previous:
            self._in_use = self._history.previous
        self._wake.set()

    def notice(self, payload: bytes) -> None:
        """Hear that it is time for a new key, or the new key itself; what makes no sense is logged."""
        try:
            self._notices = [*self._notices[-7:], read_notice(payload)]
        except ProvisioningInvalid as exc:
            log.warning("api_key.notice_unreadable", reason=exc.message)
        else:
            self._wake.set()

    async def run(self) -> None:
        """Renew until cancelled."""
        next_at = 0.0
        while True:
            self._wake.clear()
            try:
                next_at = await self._look()
            except IotisticError as exc:
                log.warning("api_key.not_checked", code=exc.code, reason=exc.message)
                retry_after_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0.0
                next_at = self._pace.failed(self._clock(), self._chance(), retry_after_s=retry_after_s)
                # Whoever is refused with every request must not make us ask with every request.
                await asyncio.sleep(max(0.0, next_at - self._clock()))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_at - self._clock())):
                    await self._wake.wait()

    async def _look(self) -> float:
        """Renew if it is time; return when to look again."""
        until = await self._valid_until()
        while self._notices:
            notice = self._notices[0]
            await self._heed(notice)
            self._notices = [other for other in self._notices if other is not notice]
            until = None
        now = self._clock()
        if self._is_due(until, now):
            await self._renew()
            until = None
        await self._forget_previous()
        at = self._pace.succeeded(now)
        return at if until is None else min(at, max(until - _BEFORE_S, now + _HOUR_S))

    async def _valid_until(self) -> float | None:
        """Return when the key ends; goes back to the one before when this one is refused. Raises CloudDenied."""
        try:
            until = await self._service.valid_until(self._current)
        except CloudDenied:
            self._in_use = self._current
            if not self._has_previous:
                raise
            until = await self._service.valid_until(self._history.previous)
            await self._go_back()
        self._in_use = self._current
        return until

    async def _heed(self, notice: RotatedKey | None) -> None:
        if notice is None:
            rotated_at = self._history.rotated_at
            if rotated_at is None or not 0 <= self._clock() - rotated_at < _NOTICED_AGAIN_S:
                await self._renew()
        elif notice.api_key not in (self._current, self._history.previous):
            try:
                await self._service.valid_until(notice.api_key)
            except CloudDenied as exc:
                log.warning("api_key.notice_refused", reason=exc.message)
            else:
                await self._adopt(notice)

    def _is_due(self, until: float | None, now: float) -> bool:
        rotated_at = self._history.rotated_at
        is_rested = rotated_at is None or not 0 <= now - rotated_at < _NOT_AGAIN_S
        was_cut_short = self._history.previous == self._current
        return (is_rested or was_cut_short) and until is not None and until - now <= _BEFORE_S

    async def _renew(self) -> None:
        if not self._store.database.is_kept:
            raise DiskNotKept
        await self._kept.save(self._history)  # fails before anything is asked for, if it has to
        await self._adopt(await self._service.rotate(self._current))
        try:
            await self._service.valid_until(self._current)
        except CloudDenied:
            log.warning("api_key.new_refused")
            await self._go_back()
            raise

    async def _adopt(self, rotated: RotatedKey) -> None:
        """Write down the key before, then the new one: a process that ends in between has both or the old one."""
        now = self._clock()
        until = now + _GRACE_S if rotated.old_valid_until is None else rotated.old_valid_until
        history = KeyHistory(self._current, until, now)
        await self._kept.save(history)
        self._history = history
        await self._store.device.change(device_api_key=rotated.api_key)
        self._current = self._in_use = rotated.api_key
        log.info("api_key.rotated", previous_until=until)

    async def _go_back(self) -> None:
        history, previous = replace(self._history, previous="", rotated_at=None), self._history.previous
        await self._store.device.change(device_api_key=previous)
        self._current = self._in_use = previous
        await self._kept.save(history)
        self._history = history
        log.warning("api_key.previous_used_again")

    async def _forget_previous(self) -> None:
        if self._history.previous and self._clock() >= self._history.previous_until:
            history = replace(self._history, previous="")
            await self._kept.save(history)
            self._history = history

    @property
    def _has_previous(self) -> bool:
        return self._history.previous not in ("", self._current)
