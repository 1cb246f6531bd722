"""The list of devices: one statement a page, read where it stands by its keyset.

The page is cut out first, by devices and presence alone; what else a row shows is looked up for its few rows. Every
device has one row of presence, so neither is read where nothing is asked of it: counting to 10,000 by both takes five
times as long as by one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import asyncpg

from iotistic.control.devices.selection import DeviceFilter, Statement, select
from iotistic.telemetry.query.references import Key, ParameterInvalid, decode_cursor, encode_cursor
from iotistic.telemetry.query.times import from_us, to_us

MOST_COUNTED = 10_000
"""A total is counted up to here; beyond it is said to be more."""
MOST_PAGED = 10_000
"""Rows that numbered pages reach; cursors reach all."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Order(StrEnum):
    """Order of the list; a minus sign means descending. Equals stand by name, or by uuid."""

    NAME = "name"
    NAME_DESCENDING = "-name"
    TYPE = "type"
    TYPE_DESCENDING = "-type"
    FLEET = "fleet"
    FLEET_DESCENDING = "-fleet"
    VERSION = "version"
    VERSION_DESCENDING = "-version"
    CREATED = "created_at"
    CREATED_DESCENDING = "-created_at"
    LAST_SEEN = "last_seen"
    LAST_SEEN_DESCENDING = "-last_seen"


_KEYS: Mapping[str, tuple[tuple[str, Key], ...]] = MappingProxyType(
    {
        "name": (("lower(d.name)", Key.TEXT),),
        "type": (("d.type", Key.TEXT), ("lower(d.name)", Key.TEXT)),
        "fleet": (("d.fleet_id", Key.TEXT), ("lower(d.name)", Key.TEXT)),
        "version": (("d.agent_version", Key.TEXT), ("lower(d.name)", Key.TEXT)),
        "created_at": (("d.created_at", Key.TIME),),
        "last_seen": (("p.seen_at", Key.TIME),),
    }
)
_BY_PRESENCE = frozenset({Order.LAST_SEEN, Order.LAST_SEEN_DESCENDING})
_TYPES = {Key.TEXT: "text", Key.TIME: "timestamptz"}

_SHOWN = """
SELECT d.uuid::text, d.number, d.name, d.type, d.fleet_id, d.application_id, d.mac_address, d.ip_address,
       d.os_version, d.agent_version, d.is_active, d.created_at, d.provisioning_state,
       p.is_online, nullif(p.seen_at, 'epoch') AS last_seen, p.changed_at,
       r.reported_at, r.cpu_usage, r.temperature, r.memory_usage, r.memory_total, r.storage_usage,
       r.storage_total, r.uptime, r.version AS current_version, coalesce(r.apps, 0) AS current_apps,
       t.version AS target_version, t.draft IS NOT NULL AS needs_deployment,
       (SELECT count(*)::integer FROM json_object_keys(t.document::json -> 'apps')) AS target_apps,
       (SELECT jsonb_object_agg(key, value) FROM device_tags WHERE device_uuid = d.uuid)::text AS tags
"""
_AROUND = """
JOIN fleet_devices d ON d.uuid = page.uuid
JOIN device_presence p ON p.device_uuid = page.uuid
LEFT JOIN device_reports r ON r.device_uuid = page.uuid
LEFT JOIN device_targets t ON t.device_uuid = page.uuid
"""
_DEVICES, _PRESENCE = "fleet_devices d", "device_presence p"
_BOTH = f"{_DEVICES} JOIN {_PRESENCE} ON p.device_uuid = d.uuid"
# Plans are made for the filters at hand: one that is good for all is good for none.
_SESSION = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Which part of the list: after a cursor, or the n-th by number (from 1)."""

    order: Order = Order.NAME
    limit: int = 50
    cursor: str | None = None
    number: int = 1


@dataclass(frozen=True, slots=True)
class Listed:
    """A page. `total` is None behind a cursor, and counts to 10,000; `next_cursor` None on the last."""

    rows: list[dict[str, Any]]
    next_cursor: str | None
    total: int | None

    @property
    def is_exact(self) -> bool:
        """Whether the total is the whole truth."""
        return self.total is None or self.total <= MOST_COUNTED


async def page(pool: asyncpg.Pool, wanted: DeviceFilter, asked: Page) -> Listed:
    """Return a page. Raises ParameterInvalid for a cursor of another list, and a number beyond reach."""
    text, parameters = statement_of(wanted, asked)
    async with pool.acquire() as db, db.transaction(readonly=True):
        await db.execute(_SESSION)
        rows = [dict(row) for row in await db.fetch(text, *parameters)]
    total = rows[0]["total"] if rows else (0 if asked.cursor is None and asked.number == 1 else None)
    kept = rows[: asked.limit]
    cursor = _cursor(asked.order, kept[-1]) if len(rows) > asked.limit else None
    return Listed(kept, cursor, total)


async def one(pool: asyncpg.Pool, uuid: str) -> dict[str, Any] | None:
    """Return what the list shows of a device."""
    text = f"{_SHOWN} FROM (SELECT $1::text::uuid AS uuid) page {_AROUND}"
    row = await pool.fetchrow(text, uuid)
    return dict(row) if row else None


def statement_of(wanted: DeviceFilter, asked: Page) -> tuple[str, list[object]]:
    """Return the one statement of a page, and its parameters."""
    statement = select(wanted)
    counted = "NULL::bigint" if asked.cursor else _count(wanted, statement)
    keys = _KEYS[asked.order.removeprefix("-")]
    descending = asked.order.startswith("-")
    if asked.cursor:
        _after(statement, asked, descending=descending)
    way = " DESC" if descending else ""
    columns = [column for column, _ in keys]
    order = ", ".join(f"{column}{way}" for column in (*columns, "d.uuid"))
    named = ", ".join(f"{column} AS key_{number}" for number, column in enumerate(columns))
    kept = ", ".join(f"page.key_{number}" for number in range(len(columns)))
    outer = ", ".join(f"page.key_{number}{way}" for number in range(len(columns)))
    offset = statement.parameter(_offset(asked))
    limit = statement.parameter(asked.limit + 1)
    read = _BOTH if wanted.asks_presence or asked.order in _BY_PRESENCE else _DEVICES
    text = (
        f"WITH page AS MATERIALIZED (SELECT d.uuid, {named} FROM {read} WHERE {statement.text} "  # noqa: S608  constants
        f"ORDER BY {order} OFFSET {offset} LIMIT {limit}) "
        f"{_SHOWN}, {kept}, ({counted}) AS total FROM page {_AROUND} ORDER BY {outer}, page.uuid{way}"
    )
    return text, statement.parameters


def _count(wanted: DeviceFilter, statement: Statement) -> str:
    if wanted == DeviceFilter():
        return "SELECT devices FROM fleet_device_tally"
    joined = _BOTH if wanted.asks_presence else _DEVICES
    read = _PRESENCE if wanted.asks_only_presence else joined
    return (
        f"SELECT count(*) FROM (SELECT FROM {read} WHERE {statement.text} LIMIT {MOST_COUNTED + 1}) counted"  # noqa: S608  constants
    )


def _offset(asked: Page) -> int:
    offset = 0 if asked.cursor else (asked.number - 1) * asked.limit
    if offset > MOST_PAGED:
        raise ParameterInvalid.of("page", f"pages end after {MOST_PAGED} devices; go on with the cursor")
    return offset


def _after(statement: Statement, asked: Page, *, descending: bool) -> None:
    keys = _KEYS[asked.order.removeprefix("-")]
    _, found = decode_cursor(
        asked.cursor or "", f"fleet.{asked.order}", keys=(*(k for _, k in keys), Key.TEXT)
    )
    if not _UUID.fullmatch(str(found[-1])):
        raise ParameterInvalid.of("cursor", "take it unchanged from the answer before")
    values = [from_us(int(v)) if k is Key.TIME else v for v, (_, k) in zip(found, keys, strict=False)]
    columns = ", ".join((*(column for column, _ in keys), "d.uuid"))
    marks = ", ".join((*(f"{{}}::{_TYPES[kind]}" for _, kind in keys), "{}::text::uuid"))
    sense = "<" if descending else ">"
    statement.where(f"({columns}) {sense} ({marks})", *values, found[-1])


def _cursor(order: Order, row: Mapping[str, Any]) -> str:
    keys: Sequence[Any] = [row[f"key_{number}"] for number in range(len(_KEYS[order.removeprefix("-")]))]
    written = [to_us(key) if isinstance(key, datetime) else key for key in keys]
    return encode_cursor(f"fleet.{order}", *written, row["uuid"])
