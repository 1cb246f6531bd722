"""Rows of the broker's users, of their rules, and of the accounts that devices have there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from iotistic.control.broker.model import Access, Acl, MqttUser

_USER = "u.id, u.username, u.password_hash, u.is_superuser, u.is_active, u.created_at, u.updated_at"
_ACL = "id, user_id, topic, access, priority, created_at"


class Database(Protocol):
    """A connection or a pool."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return all rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Any:
        """Return the first row or None."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceAccount:
    """How a device is known at the broker; `digest` is SHA-256 of its password."""

    username: str
    uuid: str
    digest: bytes
    registration: str
    has_certificate: bool
    is_active: bool


async def users(db: Database, *, user_id: int | None = None, name: str | None = None) -> list[MqttUser]:
    """Return users by name, each with its rules, in one statement; of one id or name where it is given."""
    rows = await db.fetch(
        f"SELECT {_USER}, "  # noqa: S608  constant
        "coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'topic', a.topic, 'access', a.access, "
        "'priority', a.priority, 'created_at', extract(epoch FROM a.created_at)) "
        "ORDER BY a.priority DESC, a.id) FILTER (WHERE a.id IS NOT NULL), '[]')::text AS acls "
        "FROM mqtt_users u LEFT JOIN mqtt_acls a ON a.user_id = u.id "
        "WHERE ($1::bigint IS NULL OR u.id = $1) AND ($2::text IS NULL OR u.username = $2) "
        "GROUP BY u.id ORDER BY u.username",
        user_id,
        name,
    )
    return [_user(row) for row in rows]


async def add_user(
    db: Database, username: str, password_hash: str, *, is_superuser: bool, is_active: bool, now: datetime
) -> int | None:
    """Add a user and return its id; None when the name is taken."""
    return await db.fetchval(
        "INSERT INTO mqtt_users (username, password_hash, is_superuser, is_active, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (username) DO NOTHING RETURNING id",
        username,
        password_hash,
        is_superuser,
        is_active,
        now,
    )


async def change_user(db: Database, user_id: int, changes: Mapping[str, Any], now: datetime) -> bool:
    """Change what is given of password_hash, is_superuser, is_active; False when there is no such user."""
    found = await db.fetchval(
        "UPDATE mqtt_users SET password_hash = coalesce($2, password_hash), "
        "is_superuser = coalesce($3, is_superuser), is_active = coalesce($4, is_active), updated_at = $5 "
        "WHERE id = $1 RETURNING id",
        user_id,
        changes.get("password_hash"),
        changes.get("is_superuser"),
        changes.get("is_active"),
        now,
    )
    return found is not None


async def remove_user(db: Database, user_id: int) -> str | None:
    """Remove a user with its rules and return its name."""
    return await db.fetchval("DELETE FROM mqtt_users WHERE id = $1 RETURNING username", user_id)


async def add_acl(
    db: Database, user_id: int, topic: str, access: Access, priority: int, now: datetime
) -> Acl | None:
    """Add a rule; None when the user has one for the topic. Raises ForeignKeyViolationError without the user."""
    row = await db.fetchrow(
        f"INSERT INTO mqtt_acls (user_id, topic, access, priority, created_at) VALUES ($1, $2, $3, $4, $5) "  # noqa: S608  constant
        f"ON CONFLICT (user_id, topic) DO NOTHING RETURNING {_ACL}",
        user_id,
        topic,
        int(access),
        priority,
        now,
    )
    return _acl(row) if row else None


async def change_acl(
    db: Database, acl_id: int, *, topic: str | None, access: Access | None, priority: int | None
) -> Acl | None:
    """Change what is given of a rule. Raises UniqueViolationError for a topic that has one."""
    row = await db.fetchrow(
        "UPDATE mqtt_acls SET topic = coalesce($2, topic), access = coalesce($3, access), "  # noqa: S608  constant
        f"priority = coalesce($4, priority) WHERE id = $1 RETURNING {_ACL}",
        acl_id,
        topic,
        None if access is None else int(access),
        priority,
    )
    return _acl(row) if row else None


async def remove_acl(db: Database, acl_id: int) -> bool:
    """Remove a rule."""
    return await db.fetchval("DELETE FROM mqtt_acls WHERE id = $1 RETURNING id", acl_id) is not None


async def count(db: Database, user_id: int | None = None) -> int:
    """Return how many users there are, or rules of one."""
    if user_id is None:
        return await db.fetchval("SELECT count(*) FROM mqtt_users")
    return await db.fetchval("SELECT count(*) FROM mqtt_acls WHERE user_id = $1", user_id)


async def device_accounts(db: Database, *, username: str | None = None) -> list[DeviceAccount]:
    """Return the accounts of devices that are switched on, by name; of one where a name is given."""
    rows = await db.fetch(
        "SELECT username, device_uuid::text, password_digest, registration, has_certificate, is_active "
        "FROM broker_device_accounts WHERE ($1::text IS NULL OR username = $1) AND is_active ORDER BY username",
        username,
    )
    return [DeviceAccount(*row) for row in rows]


def _user(row: Any) -> MqttUser:
    values: dict[str, Any] = dict(row)
    acls = _read_acls(values["id"], values.pop("acls"))
    return MqttUser(**values, acls=acls)


def _acl(row: Any) -> Acl:
    values: dict[str, Any] = dict(row)
    access = Access(values.pop("access"))
    return Acl(**values, access=access)


def _read_acls(user_id: int, text: str) -> tuple[Acl, ...]:
    """Return the rules of a user as the statement above writes them."""
    return tuple(
        Acl(
            id=one["id"],
            user_id=user_id,
            topic=one["topic"],
            access=Access(one["access"]),
            priority=one["priority"],
            created_at=datetime.fromtimestamp(one["created_at"], UTC),
        )
        for one in json.loads(text)
    )
