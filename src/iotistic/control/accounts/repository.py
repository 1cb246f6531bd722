"""Rows of users. Every function takes the connection, so that the service decides on transactions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from iotistic.control.access.model import Role
from iotistic.control.accounts.model import NewUser, User, UserTaken

_COLUMNS = "id, username, email, full_name, role, is_active, must_change_password, created_at, updated_at, last_login_at"
_MOST = 1000
_CHANGEABLE = ("email", "full_name", "role", "is_active")


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


async def add(db: Database, user: NewUser, password_hash: str, now: datetime) -> User:
    """Keep a new account. Raises UserTaken."""
    try:
        row = await db.fetchrow(
            "INSERT INTO users (username, email, full_name, role, must_change_password, password_hash, "  # noqa: S608  constant
            f"created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING {_COLUMNS}",
            user.username,
            user.email,
            user.full_name,
            user.role,
            user.must_change_password,
            password_hash,
            now,
        )
    except asyncpg.UniqueViolationError as exc:
        raise UserTaken(hint="choose another name or address") from exc
    return _user(row)


async def find(db: Database, user_id: UUID) -> User | None:
    """Return the account with this id."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE id = $1", user_id)  # noqa: S608  constant
    return _user(row) if row else None


async def lock(db: Database, user_id: UUID) -> User | None:
    """Return the account, which nobody else changes until our transaction ends."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE id = $1 FOR UPDATE", user_id)  # noqa: S608  constant
    return _user(row) if row else None


async def find_for_login(db: Database, name: str) -> tuple[User, str] | None:
    """Return the account with this name or mail address, and its password's hash."""
    column = "email" if "@" in name else "username"
    row = await db.fetchrow(
        f"SELECT {_COLUMNS}, password_hash FROM users WHERE lower({column}) = lower($1)",  # noqa: S608  constants
        name,
    )
    return (_user(row), row["password_hash"]) if row else None


async def password_hash(db: Database, user_id: UUID) -> str | None:
    """Return the hash of the account's password."""
    return await db.fetchval("SELECT password_hash FROM users WHERE id = $1", user_id)


async def list_all(db: Database) -> list[User]:
    """Return the accounts by name; a thousand at most."""
    rows = await db.fetch(f"SELECT {_COLUMNS} FROM users ORDER BY lower(username) LIMIT {_MOST}")  # noqa: S608  constants
    return [_user(row) for row in rows]


async def change(db: Database, user_id: UUID, values: Mapping[str, object], now: datetime) -> User | None:
    """Change what `values` names, and nothing else. Raises UserTaken."""
    named = [name for name in _CHANGEABLE if name in values]
    sets = "".join(f"{name} = ${number}, " for number, name in enumerate(named, start=3))
    try:
        row = await db.fetchrow(
            f"UPDATE users SET {sets}updated_at = $2 WHERE id = $1 RETURNING {_COLUMNS}",  # noqa: S608  constants
            user_id,
            now,
            *(values[name] for name in named),
        )
    except asyncpg.UniqueViolationError as exc:
        raise UserTaken(hint="choose another address") from exc
    return _user(row) if row else None


async def set_password(
    db: Database, user_id: UUID, password_hash: str, *, must_change: bool, now: datetime
) -> None:
    """Replace the password by one that was chosen."""
    await db.execute(
        "UPDATE users SET password_hash = $2, must_change_password = $3, updated_at = $4 WHERE id = $1",
        user_id,
        password_hash,
        must_change,
        now,
    )


async def logged_in(
    db: Database, user_id: UUID, known: str, *, better: str | None, now: datetime
) -> User | None:
    """Note a login with the password whose hash is `known`, and keep a better hash of it.

    Return the account as it is now, which nobody else changes until our transaction ends; None if meanwhile it was
    closed or its password changed.
    """
    row = await db.fetchrow(
        "UPDATE users SET last_login_at = $4, password_hash = COALESCE($3, password_hash) "  # noqa: S608  constant
        f"WHERE id = $1 AND password_hash = $2 AND is_active RETURNING {_COLUMNS}",
        user_id,
        known,
        better,
        now,
    )
    return _user(row) if row else None


async def lock_owners(db: Database) -> None:
    """Make other transactions that make, change or remove owners wait until ours ends."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('accounts:owners', 0))")


async def count_owners(db: Database) -> int:
    """Return how many owners are active."""
    return int(
        await db.fetchval("SELECT count(*) FROM users WHERE role = $1 AND is_active", Role.OWNER.value)
    )


async def delete(db: Database, user_id: UUID) -> None:
    """Remove the account, its sessions and its keys."""
    await db.execute("DELETE FROM users WHERE id = $1", user_id)


def _user(row: Any) -> User:
    values: dict[str, Any] = {name: row[name] for name in _COLUMNS.split(", ")}
    role = Role(values.pop("role"))
    return User(**values, role=role)
