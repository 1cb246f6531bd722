"""What samples saw, kept: figures and schemas of topics, and the broker's own figures."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from iotistic.control.broker.repository import Database
from iotistic.control.broker.sampling import Sample, SeenTopic
from iotistic.control.broker.shape import merged
from iotistic.kernel.postgres.pool import database_errors

_TOPIC = "topic, messages, bytes, samples, last_payload_bytes, first_seen_at, last_seen_at"


@dataclass(frozen=True, slots=True)
class TopicFigures:
    """Estimates since a topic was first seen."""

    topic: str
    messages: float
    bytes: float
    samples: int
    last_payload_bytes: int
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class TopicSchema:
    """The schema of a topic's payloads; None while none was JSON."""

    topic: str
    schema: dict[str, Any] | None
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The broker's own figures below $SYS, at one time."""

    at: datetime
    figures: dict[str, float | str]


class TrafficStore:
    """Rows of what was seen."""

    def __init__(self, pool: asyncpg.Pool, *, most_topics: int) -> None:
        self._pool, self._most_topics = pool, most_topics

    async def add(self, sample: Sample, *, scale: float, now: datetime) -> None:
        """Keep a sample; `scale` is how much more time it stands for. One process at a time."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                room = self._most_topics - await db.fetchval("SELECT count(*) FROM mqtt_topics")
                known = await _schemas(db, list(sample.topics))
                fresh = [topic for topic in sample.topics if topic not in known]
                for topic in [*known, *fresh[: max(0, room)]]:
                    await _put(db, topic, sample.topics[topic], known.get(topic), scale, now)
                if sample.figures:
                    await db.execute(
                        "INSERT INTO mqtt_broker_stats (at, figures) VALUES ($1, $2) ON CONFLICT (at) DO NOTHING",
                        now,
                        json.dumps(sample.figures),
                    )

    async def forget(self, *, topics_before: datetime, stats_before: datetime) -> None:
        """Drop what is too old."""
        with database_errors():
            await self._pool.execute("DELETE FROM mqtt_topics WHERE last_seen_at < $1", topics_before)
            await self._pool.execute("DELETE FROM mqtt_broker_stats WHERE at < $1", stats_before)

    async def topics(self, *, prefix: str, after: str, limit: int) -> list[TopicFigures]:
        """Return topics below a prefix (whole levels), by name, following `after`."""
        with database_errors():
            rows = await self._pool.fetch(
                f"SELECT {_TOPIC} FROM mqtt_topics WHERE ($1 = '' OR topic = $1 OR starts_with(topic, $1 || '/')) "  # noqa: S608  constant
                'AND topic COLLATE "C" > $2 ORDER BY topic COLLATE "C" LIMIT $3',
                prefix,
                after,
                limit,
            )
        return [TopicFigures(*row) for row in rows]

    async def schema(self, topic: str) -> TopicSchema | None:
        """Return what is known of a topic's payloads; None for a topic that was never seen."""
        with database_errors():
            row = await self._pool.fetchrow(
                "SELECT schema::text AS schema, schema_changed_at FROM mqtt_topics WHERE topic = $1", topic
            )
        if row is None:
            return None
        schema = json.loads(row["schema"]) if row["schema"] else None
        return TopicSchema(topic, schema, row["schema_changed_at"])

    async def figures(self, *, since: datetime | None, limit: int) -> list[Figures]:
        """Return the broker's figures, the newest first."""
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT at, figures::text AS figures FROM mqtt_broker_stats "
                "WHERE ($1::timestamptz IS NULL OR at > $1) ORDER BY at DESC LIMIT $2",
                since,
                limit,
            )
        return [Figures(row["at"], json.loads(row["figures"])) for row in rows]


def too_old(now: datetime, days: float) -> datetime:
    """Return the time before which things are dropped."""
    return now - timedelta(days=days)


async def _schemas(db: Database, topics: list[str]) -> dict[str, dict[str, Any] | None]:
    rows = await db.fetch(
        "SELECT topic, schema::text AS schema FROM mqtt_topics WHERE topic = ANY($1)", topics
    )
    return {row["topic"]: json.loads(row["schema"]) if row["schema"] else None for row in rows}


async def _put(
    db: Database, topic: str, seen: SeenTopic, known: dict[str, Any] | None, scale: float, now: datetime
) -> None:
    schema = seen.schema
    if schema is not None and known is not None:
        schema = merged(known, schema)
    changed = schema is not None and schema != known
    await db.execute(
        "INSERT INTO mqtt_topics (topic, messages, bytes, samples, last_payload_bytes, first_seen_at, last_seen_at, "
        "schema, schema_changed_at) VALUES ($1, $2, $3, 1, $4, $5, $5, $6::jsonb, $7) "
        "ON CONFLICT (topic) DO UPDATE SET messages = mqtt_topics.messages + EXCLUDED.messages, "
        "bytes = mqtt_topics.bytes + EXCLUDED.bytes, samples = mqtt_topics.samples + 1, "
        "last_payload_bytes = EXCLUDED.last_payload_bytes, last_seen_at = EXCLUDED.last_seen_at, "
        "schema = coalesce(EXCLUDED.schema, mqtt_topics.schema), "
        "schema_changed_at = coalesce(EXCLUDED.schema_changed_at, mqtt_topics.schema_changed_at)",
        topic,
        seen.messages * scale,
        seen.size * scale,
        seen.last_payload_bytes,
        now,
        json.dumps(schema) if changed else None,
        now if changed else None,
    )
