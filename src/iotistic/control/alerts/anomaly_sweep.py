"""Judges anomalies that were found, whoever found them, by whether something was heard of them lately.

One look at one rule is one transaction. A subject is a device and a metric. Times are those of hearing: an agent that was offline tells its anomalies when it
is back, and that is when somebody is to know.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from iotistic.contracts.mac import MacInvalid, parse_mac
from iotistic.control.alerts import alert_rows, rule_rows
from iotistic.control.alerts.conditions import AnomalyFound, Selection, Severity
from iotistic.control.alerts.evaluate import Change, Phase, SeriesState, Transition
from iotistic.control.alerts.model import Database, Subject, Work, to_us
from iotistic.control.alerts.sources import Sources

# $1 heard after, $2 severities, $3 origin, $4 names, $5 MACs, $6 fleet, $7 uuids that have the tags. A device is
# known by the uuid of its anomalies, of its fleet or of its readings; who selects a controller selects its sensors.
_HEARD = """
WITH heard AS (
    SELECT a.* FROM standing_anomalies a
    WHERE a.heard_at > $1 AND a.severity = ANY($2) AND ($3::text IS NULL OR a.origin = $3)
), known AS (
    SELECT h.device_uuid, d.uuid, d.externalkey, d.macaddress FROM (SELECT DISTINCT device_uuid FROM heard) h
    JOIN devices own ON own.uuid = h.device_uuid
    LEFT JOIN pins p ON p.deviceid = own.id LEFT JOIN connectors k ON k.id = p.connectorid
    JOIN devices d ON d.id = own.id OR d.id = k.controllerid
    UNION ALL
    SELECT device_uuid, device_uuid, NULL, NULL FROM (SELECT DISTINCT device_uuid FROM heard) h
), meant AS (
    SELECT DISTINCT k.device_uuid FROM known k
    LEFT JOIN device_standings f ON f.uuid = k.uuid OR f.mac = k.macaddress
    WHERE ($4::text[] IS NULL OR k.uuid::text = ANY($4) OR k.externalkey = ANY($4) OR k.macaddress = ANY($5::text[])
           OR f.mac = ANY($5::text[]))
      AND ($6::text IS NULL OR f.fleet_id = $6) AND ($7::uuid[] IS NULL OR f.uuid = ANY($7) OR k.uuid = ANY($7))
)
SELECT DISTINCT ON (device_uuid, metric) device_uuid, device_name, metric, value, heard_at
FROM heard JOIN meant USING (device_uuid) ORDER BY device_uuid, metric, heard_at DESC
"""


class AnomalySweep:
    """One look at one rule on anomalies, in the caller's transaction."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def look(self, db: Database, work: Work, now: datetime) -> bool:
        """Judge what is known; return False: nothing waits."""
        rule, condition = work.rule, work.rule.definition.condition
        assert isinstance(condition, AnomalyFound)  # noqa: S101  by its type
        heard = await self._heard(db, work, condition, now)
        known = await rule_rows.states(db, rule.id, await rule_rows.subjects_of_note(db, rule.id))
        changed: dict[str, SeriesState] = {}
        now_us = to_us(now)
        for key, row in heard.items():
            if key not in known:
                since_us = min(to_us(row["heard_at"]), now_us)
                fired = Transition(Change.FIRING, since_us, since_us, row["value"])
                await alert_rows.apply(db, rule, _subject(key, row), [fired], now)
                changed[key] = SeriesState(Phase.FIRING, since_us, since_us)
        for key, state in known.items():
            if key not in heard:
                await alert_rows.resolve(
                    db, rule.id, key, Transition(Change.RESOLVED, now_us, state.since_us)
                )
                changed[key] = SeriesState()
        await rule_rows.keep_states(db, rule.id, changed)
        await rule_rows.looked(db, rule.id, now, until=now)
        return False

    async def _heard(
        self, db: Database, work: Work, condition: AnomalyFound, now: datetime
    ) -> Mapping[str, Any]:
        """Return what stands now, by subject."""
        selection = work.rule.definition.selection
        after = max(work.started_at, now - timedelta(seconds=condition.quiet_s))
        rows = await db.fetch(
            _HEARD,
            after,
            [one.value for one in Severity if one.reaches(Severity(condition.least_severity))],
            None if condition.origin == "any" else condition.origin,
            *_names(selection),
            selection.fleet,
            await self._sources.tagged(selection),
        )
        return {
            f"{row['device_uuid']}/{row['metric']}": row
            for row in rows
            if condition.metric is None or fnmatchcase(row["metric"], condition.metric)
        }


def _subject(key: str, row: Any) -> Subject:
    return Subject(key, row["device_uuid"], row["device_name"], row["metric"])


def _names(selection: Selection) -> tuple[list[str] | None, list[str]]:
    names = [*selection.devices, *(name.lower() for name in selection.devices)]
    return names or None, [mac for name in selection.devices if (mac := _mac(name))]


def _mac(text: str) -> str | None:
    try:
        return parse_mac(text)
    except MacInvalid:
        return None
