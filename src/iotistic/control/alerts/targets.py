"""Whom alerts are told: targets, their secrets, and what was sent to them."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.alerts import target_rows
from iotistic.control.alerts.conditions import Severity
from iotistic.control.alerts.courier import Senders
from iotistic.control.alerts.model import (
    Delivery,
    DeliveryNotOver,
    DeliveryUnknown,
    Event,
    NoSecret,
    Target,
    TargetUnknown,
    utc_now,
)
from iotistic.control.alerts.settings import DeliverySettings
from iotistic.control.alerts.webhook import check_url, signing_secret
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_TEST_LEASE = timedelta(minutes=5)


class TargetService:
    """Makes, changes, tests and removes targets; shows and replays messages."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        senders: Senders,
        settings: DeliverySettings,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._senders, self._settings, self._clock = pool, senders, settings, clock

    async def list_all(self) -> list[Target]:
        """Return every target by name."""
        with database_errors():
            return await target_rows.list_all(self._pool)

    async def find(self, target_id: UUID) -> Target:
        """Return one target. Raises TargetUnknown."""
        with database_errors():
            found = await target_rows.find(self._pool, target_id)
        if found is None:
            raise TargetUnknown
        return found

    async def create(
        self, name: str, channel: Mapping[str, Any], least: Severity, *, by: str
    ) -> tuple[Target, str | None]:
        """Keep a target; return it with the signing secret of a webhook. Raises TargetTaken, UrlInvalid."""
        self._check(channel)
        with database_errors():
            target_id = await target_rows.add(self._pool, name, channel, least, self._clock(), by)
        log.info("alert_target.created", target_id=str(target_id), kind=channel["kind"], by=by)
        made = await self.find(target_id)
        return made, self._secret(made)

    async def change(
        self, target_id: UUID, name: str, channel: Mapping[str, Any], least: Severity, *, is_enabled: bool
    ) -> Target:
        """Replace a target. Raises TargetUnknown, TargetTaken, UrlInvalid."""
        self._check(channel)
        with database_errors():
            if not await target_rows.change(
                self._pool, target_id, name, channel, least, is_enabled=is_enabled
            ):
                raise TargetUnknown
        return await self.find(target_id)

    async def remove(self, target_id: UUID) -> None:
        """Remove a target with its messages; rules lose it. Raises TargetUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                if not await target_rows.remove(db, target_id):
                    raise TargetUnknown
        log.info("alert_target.removed", target_id=str(target_id))

    async def rotate_secret(self, target_id: UUID) -> tuple[Target, str]:
        """Give a webhook its next secret; messages carry both signatures for a while. Raises NoSecret."""
        if (await self.find(target_id)).channel["kind"] != "webhook":
            raise NoSecret
        until = self._clock() + timedelta(seconds=self._settings.alert_secret_grace_s)
        with database_errors():
            target = await target_rows.rotate(self._pool, target_id, until)
        if target is None or (secret := self._secret(target)) is None:
            raise TargetUnknown
        log.info("alert_target.secret_rotated", target_id=str(target_id))
        return target, secret

    async def test(self, target_id: UUID) -> Delivery:
        """Send a test message now, once; return how it went. Raises TargetUnknown."""
        target, now = await self.find(target_id), self._clock()
        payload = json.dumps(
            {"event": Event.TEST.value, "target": {"id": str(target_id), "name": target.name}}
        )
        with database_errors():
            # Taken from its beginning, so that no courier sends it while we do.
            made = await target_rows.take(self._pool, target_id, Event.TEST, payload, now, now + _TEST_LEASE)
            delivery = await self.delivery(made)
        try:
            await self._senders.send(target, delivery, now)
        except IotisticError as exc:
            with database_errors():
                fault = f"{exc.code}: {exc.message}"
                await target_rows.failed(self._pool, delivery, fault, again_at=None, now=self._clock())
        else:
            with database_errors():
                await target_rows.delivered(self._pool, delivery, self._clock())
        return await self.delivery(made)

    async def deliveries(
        self,
        *,
        state: str | None = None,
        target_id: UUID | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        """Return messages, the newest first, before (created_at, id)."""
        with database_errors():
            return await target_rows.list_deliveries(
                self._pool, state=state, target_id=target_id, before=before, limit=limit
            )

    async def delivery(self, delivery_id: UUID) -> Delivery:
        """Return one message. Raises DeliveryUnknown."""
        with database_errors():
            found = await target_rows.find_delivery(self._pool, delivery_id)
        if found is None:
            raise DeliveryUnknown
        return found

    async def replay(self, delivery_id: UUID) -> Delivery:
        """Send a message again that was delivered or given up, under its own id. Raises DeliveryNotOver."""
        with database_errors():
            done = await target_rows.replay(self._pool, delivery_id, self._clock())
        if done is None:
            await self.delivery(delivery_id)
            raise DeliveryNotOver(hint="it is tried by itself")
        log.info("alert_delivery.replayed", delivery_id=str(delivery_id))
        return done

    def _check(self, channel: Mapping[str, Any]) -> None:
        if channel["kind"] == "webhook":
            check_url(str(channel["url"]), plain=self._settings.alert_webhook_plain)

    def _secret(self, target: Target) -> str | None:
        if target.channel["kind"] != "webhook":
            return None
        master = self._settings.alert_signing_secret.get_secret_value()
        return signing_secret(master, target.id, target.secret_generation)
