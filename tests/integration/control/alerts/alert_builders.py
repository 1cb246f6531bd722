"""Builders for tests of alerts: series in a real database, a sink that stores as the product does, rules."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from pydantic import SecretStr

from iotistic.control.alerts.alert_rows import ALERT, alert_of
from iotistic.control.alerts.conditions import RuleSpec
from iotistic.control.alerts.courier import Courier, Senders
from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.alerts.mail import MailSender
from iotistic.control.alerts.service import AlertService, RuleService
from iotistic.control.alerts.settings import AlertSettings, DeliverySettings, MailSettings
from iotistic.control.alerts.sources import Sources
from iotistic.control.alerts.targets import TargetService
from iotistic.control.alerts.webhook import WebhookSender
from iotistic.telemetry.model import Resolved, Rows
from iotistic.telemetry.sink.sink import Sink

SECRET = SecretStr("the-signing-secret-of-the-tests-of-alerts")
SECOND = timedelta(seconds=1)
_names = itertools.count(1)


class Clock:
    """A clock that is moved by hand; it begins at a whole minute, some minutes ago."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=30)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass
class Hall:
    """A database with devices, and everything of alerts on it."""

    pool: object
    database: object
    clock: Clock = field(default_factory=Clock)
    settings: AlertSettings = field(default_factory=AlertSettings)
    delivery: DeliverySettings = field(
        default_factory=lambda: DeliverySettings(
            alert_signing_secret=SECRET, alert_webhook_networks="127.0.0.0/8", alert_webhook_plain=True
        )
    )
    mail: MailSettings = field(default_factory=MailSettings)
    sources: Sources = field(default_factory=Sources)

    def __post_init__(self):
        self.rules = RuleService(self.pool, clock=self.clock)
        self.alerts = AlertService(self.pool, clock=self.clock)
        self.senders = Senders(WebhookSender(self.delivery), MailSender(self.mail))
        self.targets = TargetService(self.pool, self.senders, self.delivery, clock=self.clock)
        self.courier = Courier(self.pool, self.senders, self.delivery, clock=self.clock, chance=lambda: 0.0)
        self.sink = Sink(self.database, application_name="test")
        self.keeper = self.new_keeper()

    def new_keeper(self) -> AlertKeeper:
        return AlertKeeper(self.pool, self.settings, self.sources, clock=self.clock)

    async def series(self, name="hall", label="temperature", mac=None, uuid=None) -> tuple[int, int]:
        """Return the ids of a new series."""
        template = await self.pool.fetchval("SELECT id FROM devicetemplates ORDER BY id LIMIT 1")
        device = await self.pool.fetchval(
            "INSERT INTO devices (devicename, devicetemplateid, macaddress, uuid) "
            "VALUES ($1, $2, $3, coalesce($4::text::uuid, gen_random_uuid())) RETURNING id",
            f"{name} {next(_names)}",
            template,
            mac,
            uuid,
        )
        datapoint = await self.pool.fetchval(
            "INSERT INTO datapoints (devicetemplateid, label) VALUES ($1, $2) "
            "ON CONFLICT (devicetemplateid, label) DO UPDATE SET label = EXCLUDED.label RETURNING id",
            template,
            label,
        )
        await self.pool.execute("INSERT INTO device_datapoints VALUES ($1, $2)", device, datapoint)
        return device, datapoint

    async def store(self, series, *readings, received=None) -> None:
        """Store readings (time, value) as an ingest worker does, in one batch."""
        at = np.array([round(time.timestamp() * 1e6) for time, _ in readings], np.int64)
        values = np.array([value for _, value in readings], np.float64)
        rows = Rows(
            device_id=np.full(len(at), series[0], np.int32),
            datapoint_id=np.full(len(at), series[1], np.int32),
            time_us=at,
            value=values,
        )
        received_us = round((received or self.clock()).timestamp() * 1e6)
        await self.sink.write(Resolved(rows, [], [], received_us))

    async def rule(self, condition, **more):
        spec = {"name": f"rule {next(_names)}", "condition": condition, **more}
        return await self.rules.create(RuleSpec.model_validate(spec), by="test")

    async def look(self, *, seconds=10.0) -> None:
        """Let time pass, and the keeper look at everything that is due."""
        self.clock.forward(seconds)
        await self.keeper.hand_out_marks()
        await self.keeper.look_at_all()

    async def all_alerts(self):
        rows = await self.pool.fetch(f"SELECT {ALERT} FROM alerts ORDER BY since, created_at")
        return [alert_of(row) for row in rows]

    async def faults(self):
        return [row["fault"] for row in await self.pool.fetch("SELECT fault FROM alert_rule_work")]


def too_hot(**more):
    return {"type": "threshold", "metric": "temperature", "above": 30, **more}
