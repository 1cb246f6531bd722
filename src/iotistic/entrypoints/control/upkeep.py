"""The list of background work: which tasks there are, and whose methods they call.

What a task does is not done by a loop as well: the keepers are told so (`keeps`, `forgets`).
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import asyncpg

from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.audit.keeper import AuditKeeper
from iotistic.control.devices.ageing import KeyAgeing
from iotistic.control.history.keeper import HistoryKeeper
from iotistic.control.jobs.keeper import JobKeeper
from iotistic.control.licences.refreshing import Refresher
from iotistic.control.provisioning.attempts import Attempts
from iotistic.control.upkeep.looking import Expiring, Statistics, counted, one_row
from iotistic.control.upkeep.model import Task, Watched, Work
from iotistic.entrypoints.control.rooms import ControlPlane

_ROLLUPS = """
SELECT nullif(rolled_until, to_timestamp(0)) AS minutes_until, nullif(hours_rolled_until, to_timestamp(0)) AS hours_until,
       (SELECT count(*) FROM (SELECT FROM rollup_pending LIMIT 10000) t) AS waiting_up_to_10000
FROM rollup_state"""
_RETENTION = """
SELECT nullif(raw_kept_from, to_timestamp(0)) AS readings_from, nullif(minutes_kept_from, to_timestamp(0)) AS minutes_from,
       (SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('decoded_data')) AS partitions
FROM rollup_state"""


@dataclass(frozen=True, kw_only=True)
class Keepers:
    """Loops of the control process whose seldom work is in the list."""

    alerts: AlertKeeper
    audit: AuditKeeper
    history: HistoryKeeper
    jobs: JobKeeper


def upkeep_tasks(control: ControlPlane, keepers: Keepers) -> list[Task]:
    """Return what the control process carries out."""
    return [*_of_devices(control, keepers), *_of_records(control, keepers), *_of_the_whole(control)]


def watched_work(pool: asyncpg.Pool) -> list[Watched]:
    """Return what the maintenance process does by itself."""
    return [
        Watched(
            name="telemetry-rollups",
            summary="Minutes and hours of readings are added up.",
            schedule="all the time",
            where="maintenance",
            look=one_row(pool, _ROLLUPS),
        ),
        Watched(
            name="telemetry-retention",
            summary="Partitions of readings are made ahead, and dropped when they are old.",
            schedule="every 3600 s",
            where="maintenance",
            look=one_row(pool, _RETENTION),
        ),
    ]


def _of_devices(control: ControlPlane, keepers: Keepers) -> Iterator[Task]:
    ground = control.ground
    yield Task(
        name="api-key-rotation",
        summary="Devices whose API keys are old are told to renew them; keys that ended a year ago are forgotten.",
        schedule="0 * * * *",
        work=KeyAgeing(ground.pool, ground.publisher, clock=ground.clock).look,
        deadline_s=1800,
    )
    yield Task(
        name="device-history-retention",
        summary="Partitions of device logs, figures and processes are made ahead, and dropped when they are old.",
        schedule="5 * * * *",
        work=_kept(keepers.history),
        is_soon=True,
    )
    yield Task(
        name="presence-retention",
        summary="Old comings and goings of devices are forgotten.",
        schedule="25 * * * *",
        work=counted("forgotten", control.presence.forget),
    )
    yield Task(
        name="job-retention",
        summary="Jobs that have been over for long are removed.",
        schedule="35 * * * *",
        work=counted("forgotten", keepers.jobs.forget),
    )


def _of_records(control: ControlPlane, keepers: Keepers) -> Iterator[Task]:
    ground = control.ground
    attempts = Attempts(ground.pool, ground.settings, clock=ground.clock)
    yield Task(
        name="events-retention",
        summary="Partitions of events, decisions and the audit trail are made ahead, and dropped when they are old.",
        schedule="15 * * * *",
        work=_nothing(keepers.audit.keep),
        is_soon=True,
    )
    yield Task(
        name="alert-retention",
        summary="Alerts that are over, their messages and silences are removed when they are old.",
        schedule="45 * * * *",
        work=keepers.alerts.forget,
    )
    yield Task(
        name="provisioning-attempts-retention",
        summary="Attempts at provisioning are forgotten after 30 days.",
        schedule="30 3 * * *",
        work=counted("forgotten", attempts.forget_old),
    )
    yield Task(
        name="session-retention",
        summary="Sessions of people that ended 30 days ago are forgotten.",
        schedule="40 3 * * *",
        work=counted("forgotten", control.accounts.sessions.forget_ended),
    )


def _of_the_whole(control: ControlPlane) -> Iterator[Task]:
    ground = control.ground
    settings = ground.settings
    yield Task(
        name="licence-refresh",
        summary="The seller is asked for the licence in force.",
        schedule="0 */6 * * *",
        work=_refreshed(control, Refresher(control.licences, settings)),
        deadline_s=60,
        # Installations all over the world ask the same seller.
        spread_s=3600,
    )
    yield Task(
        name="database-statistics",
        summary="Figures that the database plans by are taken anew, for tables that change fast.",
        schedule="0 4 * * *",
        work=Statistics(ground.pool).look,
        deadline_s=3600,
    )
    yield Task(
        name="certificates-expiring",
        summary="Certificates near their end that nobody renewed are counted and listed.",
        schedule="20 6 * * *",
        work=Expiring(ground.pool, days=settings.upkeep_certificate_days, clock=ground.clock).look,
        is_soon=True,
    )


def _kept(history: HistoryKeeper) -> Work:
    async def keep() -> Mapping[str, object]:
        kept = await history.keep()
        return {"made": kept.made, "dropped": kept.dropped, "postponed": kept.postponed}

    return keep


def _nothing(work: Callable[[], Awaitable[None]]) -> Work:
    async def carry_out() -> Mapping[str, object]:
        await work()
        return {}

    return carry_out


def _refreshed(control: ControlPlane, refresher: Refresher) -> Work:
    settings = control.ground.settings

    async def refresh() -> Mapping[str, object]:
        if not (settings.billing_api_url and settings.license_public_key):
            return {"skipped": "BILLING_API_URL and LICENSE_PUBLIC_KEY are not both set"}
        licence = await refresher.refresh()
        return {"plan": licence.plan, "standing": licence.standing.value, "until": licence.until}

    return refresh
