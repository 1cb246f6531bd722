"""`iotistic why`: why a device is offline, not updated, limited, or was rolled back."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
from cyclopts import App

from iotistic.control.why.model import Answer, Finding
from iotistic.control.why.port import About
from iotistic.control.why.schemas import WhyAnswer
from iotistic.control.why.service import WhyService
from iotistic.control.why.settings import WhySettings
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.database_of_home import ControlDatabaseSettings, control_dsn
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid, NotFound
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.settings import load_settings

app = App(name="why", help="Say why a device is as it is, and the fix.", help_format="plaintext")


class DeviceNameUnknown(NotFound):
    """There is no device of this name."""

    code = "why.device_name_unknown"


class DeviceNameAmbiguous(Invalid):
    """Several devices have this name."""

    code = "why.device_name_ambiguous"


class WhyCommandSettings(ControlDatabaseSettings, WhySettings):
    """Which database `iotistic why` looks into, and when a device counts as silent."""


@app.command(name="device")
def device(device: str, *, about: About | None = None, json: AsJson = False) -> None:
    """Say why a device is offline, not updated, limited, or was rolled back.

    Parameters
    ----------
    device
        Its uuid, its number, or its name.
    about
        offline, not-updated, limited, or rolled-back; without it, what is wrong is looked for in this order.
    """
    answer = asyncio.run(_ask(load_settings(WhyCommandSettings), device, about))
    if json:
        emit(WhyAnswer.of(answer), json=True)
    else:
        emit(_told(answer), json=False)


async def _ask(settings: WhyCommandSettings, device: str, about: About | None) -> Answer:
    dsn = control_dsn(settings)
    pool = await create_pool(
        DatabaseSettings(database_url=dsn.url, database_password=dsn.password, database_pool_size=2),
        application_name="iotistic why",
    )
    try:
        uuid = await _uuid(pool, device)
        return await WhyService(pool, settings).ask(uuid, about)
    finally:
        pool.terminate()


async def _uuid(pool: asyncpg.Pool, named: str) -> str:
    try:
        return str(UUID(named))
    except ValueError:
        pass
    number = int(named) if named.isascii() and named.isdecimal() and len(named) < 19 else None  # noqa: PLR2004  a bigint
    rows = await pool.fetch(
        "SELECT uuid::text FROM fleet_devices WHERE name = $1 OR number = $2 LIMIT 2", named, number
    )
    if not rows:
        raise DeviceNameUnknown(f"there is no device {named!r}", hint="give its uuid")
    if len(rows) > 1:
        raise DeviceNameAmbiguous(f"several devices are named {named!r}", hint="give the uuid")
    return str(rows[0]["uuid"])


def _told(answer: Answer) -> str:
    """Return the answer as a person reads it."""
    lines = [f"Why {answer.about.value.replace('-', ' ')}?", ""]
    for depth, finding in enumerate(answer.chain):
        lines.append(f"{'  ' * depth}{'because: ' if depth else ''}{finding.sentence}  [{finding.code}]")
    lines += ["", f"Fix: {answer.chain[-1].fix}"]
    if answer.also:
        lines += ["", "Besides:", *(_line(finding) for finding in answer.also)]
    if answer.records:
        lines += ["", "Decisions:"]
        lines += [
            f"  {_ago(answer.asked_at - record.at):>8}  {record.about}  {record.code}"
            for record in answer.records[:5]
        ]
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    return f"  {finding.sentence}  [{finding.code}]\n    fix: {finding.fix}"


def _ago(length: timedelta) -> str:
    seconds = max(0, round(length.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
