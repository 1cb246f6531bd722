"""Rows of sessions and of their refresh tokens."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.access.model import Role, UserPrincipal
from iotistic.control.accounts.model import EndReason, Origin, Session
from iotistic.control.accounts.repository import Database
from iotistic.control.accounts.tokens import Secret

_COLUMNS = "id, user_id, created_at, last_used_at, expires_at, ended_at, address, user_agent"
_LONGEST_AGENT = 300


@dataclass(frozen=True)
class RefreshToken:
    """A refresh token as it is kept."""

    digest: bytes
    session_id: UUID
    used_at: datetime | None


async def open_session(
    db: Database, user_id: UUID, origin: Origin, secret: Secret, *, expires_at: datetime, now: datetime
) -> UUID | None:
    """Begin a session with its first refresh token, if the account is active at this moment."""
    return await db.fetchval(
        "WITH begun AS (INSERT INTO user_sessions (user_id, created_at, last_used_at, expires_at, address, user_agent) "
        "SELECT id, $2, $2, $3, $4, $5 FROM users WHERE id = $1 AND is_active FOR SHARE RETURNING id) "
        "INSERT INTO refresh_tokens (id, digest, session_id, issued_at) SELECT $6, $7, id, $2 FROM begun "
        "RETURNING session_id",
        user_id,
        now,
        expires_at,
        origin.address,
        origin.user_agent[:_LONGEST_AGENT].replace("\0", ""),
        secret.id,
        secret.digest,
    )


async def keep_token(db: Database, session_id: UUID, secret: Secret, now: datetime) -> None:
    """Make this the session's refresh token."""
    await db.execute(
        "INSERT INTO refresh_tokens (id, digest, session_id, issued_at) VALUES ($1, $2, $3, $4)",
        secret.id,
        secret.digest,
        session_id,
        now,
    )


async def find_token(db: Database, token_id: str) -> RefreshToken | None:
    """Return the refresh token with this id, used or not."""
    row = await db.fetchrow("SELECT digest, session_id, used_at FROM refresh_tokens WHERE id = $1", token_id)
    return RefreshToken(**dict(row)) if row else None


async def use_token(db: Database, token_id: str, now: datetime) -> bool:
    """Use a token up; whether it could still be used. Of two at the same time one waits and then may not."""
    taken = await db.fetchval(
        "UPDATE refresh_tokens SET used_at = $2 WHERE id = $1 AND used_at IS NULL RETURNING id", token_id, now
    )
    return taken is not None


async def lock(db: Database, session_id: UUID) -> Session | None:
    """Return the session, which nobody else changes until our transaction ends."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM user_sessions WHERE id = $1 FOR UPDATE", session_id)  # noqa: S608  constant
    return Session(**dict(row)) if row else None


async def prolong(db: Database, session_id: UUID, *, expires_at: datetime, now: datetime) -> None:
    """Note a refresh."""
    await db.execute(
        "UPDATE user_sessions SET last_used_at = $2, expires_at = $3 WHERE id = $1",
        session_id,
        now,
        expires_at,
    )


async def end(db: Database, session_id: UUID, user_id: UUID, reason: EndReason, now: datetime) -> bool:
    """End a session of this user; whether it was open."""
    ended = await db.fetchval(
        "UPDATE user_sessions SET ended_at = $4, ended_reason = $3 "
        "WHERE id = $1 AND user_id = $2 AND ended_at IS NULL RETURNING id",
        session_id,
        user_id,
        reason,
        now,
    )
    return ended is not None


async def end_all(
    db: Database, user_id: UUID, reason: EndReason, now: datetime, *, but: UUID | None = None
) -> int:
    """End the open sessions of a user, except `but`; return how many."""
    rows = await db.fetch(
        "UPDATE user_sessions SET ended_at = $3, ended_reason = $2 "
        "WHERE user_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $4 RETURNING id",
        user_id,
        reason,
        now,
        but,
    )
    return len(rows)


async def list_open(db: Database, user_id: UUID, now: datetime) -> list[Session]:
    """Return the sessions of a user that can be used, the last used first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM user_sessions "  # noqa: S608  constant
        "WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY last_used_at DESC, id LIMIT 1000",
        user_id,
        now,
    )
    return [Session(**dict(row)) for row in rows]


async def principal(db: Database, session_id: UUID, user_id: UUID, now: datetime) -> UserPrincipal | None:
    """Return who is in this session, as the account is now; None when either has ended."""
    row: Any = await db.fetchrow(
        "SELECT u.username, u.role, u.must_change_password FROM user_sessions s JOIN users u ON u.id = s.user_id "
        "WHERE s.id = $1 AND u.id = $2 AND s.ended_at IS NULL AND s.expires_at > $3 AND u.is_active",
        session_id,
        user_id,
        now,
    )
    if row is None:
        return None
    return UserPrincipal(
        user_id=user_id,
        username=row["username"],
        role=Role(row["role"]),
        session_id=session_id,
        must_change_password=row["must_change_password"],
    )


async def forget(db: Database, before: datetime) -> int:
    """Remove sessions that ended or expired before this time, with their tokens; return how many."""
    # Those that somebody is at are left for the next time: nobody waits for many rows in a circle.
    rows = await db.fetch(
        "DELETE FROM user_sessions WHERE id IN (SELECT id FROM user_sessions "
        "WHERE expires_at < $1 OR ended_at < $1 FOR UPDATE SKIP LOCKED) RETURNING id",
        before,
    )
    return len(rows)
