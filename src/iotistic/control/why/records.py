"""Decision records: written by services, read for the chain."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import structlog

from iotistic.control.audit.redaction import clean
from iotistic.control.audit.seldom import Seldom
from iotistic.control.why.model import Record
from iotistic.control.why.port import About, Database
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_COLUMNS = "id, at, device_uuid, about, code, source, facts::text AS facts, cause_id"
_MOST_FACTS = 2000
_RECENT = 200
_DEEPEST = 10
# Records about all devices matter to the causes for so long; a broker restarts more often than a device is asked about.
_OF_ALL = timedelta(days=30)

_LIMITS = frozenset(
    {
        "provisioning.too_many_attempts",
        "provisioning.key_used_up",
        "device.rotated_too_often",
        "state.report_too_large",
        "state.target_too_large",
        "request.body_too_large",
        "job.too_many",
    }
)
_ABOUT_BY_ROOM = {
    "provisioning": About.OFFLINE,
    "device": About.OFFLINE,
    "presence": About.OFFLINE,
    "plan": About.LIMITED,
    "licence": About.LIMITED,
    "broker": About.LIMITED,
    "state": About.NOT_UPDATED,
    "rollout": About.NOT_UPDATED,
}
# What says nothing about a device: a caller's mistake, or a question that is out of date.
_OF_NO_INTEREST = frozenset(
    {"device.unknown", "device.key_missing", "state.nothing_to_deploy", "state.no_report"}
)


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def about_of(code: str) -> About | None:
    """Return which question a refusal answers; None for those that nobody asks about."""
    if code in _OF_NO_INTEREST:
        return None
    return About.LIMITED if code in _LIMITS else _ABOUT_BY_ROOM.get(code.partition(".")[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRecord:
    """A decision before it is written."""

    at: datetime
    device: str | None
    about: About
    code: str
    source: str
    facts: Mapping[str, object]
    cause_id: int | None = None


class DecisionRecords:
    """The records that are kept; see port.Decisions."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._seldom = Seldom()

    async def decided(
        self,
        db: Database,
        about: About,
        code: str,
        *,
        device: str | None,
        facts: Mapping[str, object] | None = None,
        source: str = "",
        cause: int | None = None,
    ) -> int | None:
        """Write a decision down; return its id."""
        return int(
            await db.fetchval(
                "INSERT INTO why_records (at, device_uuid, about, code, source, facts, cause_id) "
                "VALUES ($1, $2::text::uuid, $3, $4, $5, $6::text::jsonb, $7) RETURNING id",
                self._clock(),
                device,
                about,
                code[:100],
                source,
                _small(facts or {}),
                cause,
            )
        )

    async def decided_many(self, db: Database, decisions: Sequence[NewRecord]) -> None:
        """Write many down in one statement: thousands of devices may fall silent at once."""
        if not decisions:
            return
        await db.execute(
            "INSERT INTO why_records (at, device_uuid, about, code, source, facts, cause_id) "
            "SELECT t.at, t.device::uuid, t.about, t.code, t.source, t.facts::jsonb, t.cause "
            "FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]) "
            "AS t (at, device, about, code, source, facts, cause)",
            [one.at for one in decisions],
            [one.device for one in decisions],
            [one.about.value for one in decisions],
            [one.code[:100] for one in decisions],
            [one.source for one in decisions],
            [_small(one.facts) for one in decisions],
            [one.cause_id for one in decisions],
        )

    async def refused(self, db: Database, error: Exception, *, device: str | None, source: str = "") -> None:
        """Write a refusal down, unless the same was within the last minute; that it fails refuses nothing more."""
        about = about_of(error.code) if isinstance(error, IotisticError) else None
        if about is None or device is None or not isinstance(error, IotisticError):
            return
        if not _is_uuid(device) or not self._seldom.is_due((device, error.code)):
            return
        facts = {"message": error.message, **error.fields}
        try:
            await self.decided(db, about, error.code, device=device, facts=facts, source=source)
        except Exception as exc:  # noqa: BLE001  the refusal itself is to reach its caller
            log.warning("decision.not_noted", device_uuid=device, code=error.code, reason=str(exc))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _small(facts: Mapping[str, object]) -> str:
    """Return facts as JSON without secrets; what is too much of them is left out, the largest first."""
    kept = cast("dict[str, Any]", clean(dict(facts)))
    while len(text := json.dumps(kept)) > _MOST_FACTS:
        del kept[max(kept, key=lambda name: len(json.dumps(kept[name])))]
    return text


async def recent(db: Database, device: str, now: datetime) -> list[Record]:
    """Return the newest decisions about a device, and about all devices."""
    rows = await db.fetch(
        f"(SELECT {_COLUMNS} FROM why_records WHERE device_uuid = $1::text::uuid ORDER BY at DESC LIMIT {_RECENT}) "  # noqa: S608  constants
        f"UNION ALL (SELECT {_COLUMNS} FROM why_records WHERE device_uuid IS NULL AND at > $2 "
        f"ORDER BY at DESC LIMIT {_RECENT}) ORDER BY at DESC, id DESC",
        device,
        now - _OF_ALL,
    )
    return [_record(row) for row in rows]


async def causes_of(db: Database, records: list[Record]) -> dict[int, Record]:
    """Return the records that these follow from, and those that they follow from, ten steps far."""
    wanted = sorted({record.cause_id for record in records if record.cause_id is not None})
    if not wanted:
        return {}
    rows = await db.fetch(
        "WITH RECURSIVE chain AS (SELECT r.*, 1 AS depth FROM unnest($1::bigint[]) AS c (id) "  # noqa: S608  constants
        "JOIN why_records r ON r.id = c.id UNION SELECT r.*, c.depth + 1 FROM chain c "
        f"JOIN why_records r ON r.id = c.cause_id WHERE c.depth < {_DEEPEST}) SELECT DISTINCT ON (id) {_COLUMNS} FROM chain "
        "ORDER BY id LIMIT 500",
        wanted,
    )
    return {row["id"]: _record(row) for row in rows}


def _record(row: Any) -> Record:
    return Record(
        id=row["id"],
        at=row["at"],
        device=str(row["device_uuid"]) if row["device_uuid"] else None,
        about=About(row["about"]),
        code=row["code"],
        source=row["source"],
        facts=json.loads(row["facts"]),
        cause_id=row["cause_id"],
    )
