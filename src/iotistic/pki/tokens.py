"""Enrolment tokens: `iote_<id>_<secret>`, found by their id and compared by SHA-256 in constant time."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from iotistic.kernel.web.auth import Principal, StaticTokens, digest
from iotistic.pki.model import EnrolmentToken, TokenUnknown, TokenUsedUp
from iotistic.pki.policy import ENROL, OPERATE
from iotistic.pki.repository import Database

_PREFIX = "iote"
_COLUMNS = "id, label, created_at, expires_at, max_uses, uses, revoked_at"


@dataclass(frozen=True)
class NewToken:
    """A token that was just made; the only time that the secret is shown."""

    token: EnrolmentToken
    secret: SecretStr


class PkiTokens:
    """Who a bearer token belongs to: the operator, or an enrolment token that is valid now."""

    def __init__(self, operator: SecretStr, db: Database) -> None:
        self._operator = StaticTokens(
            {"operator": operator}, scopes={"operator": frozenset({OPERATE, ENROL})}
        )
        self._db = db

    async def find(self, token: str) -> Principal | None:
        """Return the holder; one whose uses are exhausted is still known, and refused when it enrols."""
        if operator := await self._operator.find(token):
            return operator
        prefix, _, rest = token.partition("_")
        token_id = rest.partition("_")[0]
        if prefix != _PREFIX or not (token_id.isascii() and token_id.isalnum()):
            return None
        row = await self._db.fetchrow(
            "SELECT digest FROM enrolment_tokens WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()",
            token_id,
        )
        if row is None or not hmac.compare_digest(row["digest"], digest(token)):
            return None
        return Principal(f"token:{token_id}", frozenset({ENROL}))


async def create(db: Database, *, label: str, expires_at: datetime, max_uses: int | None) -> NewToken:
    """Make a token that enrols devices until `expires_at`, at most `max_uses` times when given."""
    token_id = secrets.token_hex(6)
    secret = f"{_PREFIX}_{token_id}_{secrets.token_urlsafe(32)}"
    row = await db.fetchrow(
        "INSERT INTO enrolment_tokens (id, digest, label, expires_at, max_uses) "  # noqa: S608  constant
        f"VALUES ($1, $2, $3, $4, $5) RETURNING {_COLUMNS}",
        token_id,
        digest(secret),
        label,
        expires_at,
        max_uses,
    )
    return NewToken(_token(row), SecretStr(secret))


async def list_all(db: Database) -> list[EnrolmentToken]:
    """Return every token, newest first; a thousand at most."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM enrolment_tokens ORDER BY created_at DESC, id LIMIT 1000"  # noqa: S608  constant
    )
    return [_token(row) for row in rows]


async def revoke(db: Database, token_id: str) -> EnrolmentToken:
    """End a token now. Raises TokenUnknown."""
    row = await db.fetchrow(
        "UPDATE enrolment_tokens SET revoked_at = coalesce(revoked_at, now()) "  # noqa: S608  constant
        f"WHERE id = $1 RETURNING {_COLUMNS}",
        token_id,
    )
    if row is None:
        raise TokenUnknown(id=token_id)
    return _token(row)


async def take_use(db: Database, caller: str) -> None:
    """Count one use of the caller's token in this transaction; the operator's has no count.

    One statement decides and counts, so that of two takers of a last use one waits and is then refused.
    Raises TokenUsedUp.
    """
    kind, _, token_id = caller.partition(":")
    if kind != "token":
        return
    taken = await db.fetchval(
        "UPDATE enrolment_tokens SET uses = uses + 1 WHERE id = $1 AND revoked_at IS NULL "
        "AND expires_at > now() AND (max_uses IS NULL OR uses < max_uses) RETURNING uses",
        token_id,
    )
    if taken is None:
        raise TokenUsedUp(hint="ask the operator for another enrolment token", token_id=token_id)


def _token(row: Any) -> EnrolmentToken:
    return EnrolmentToken(**dict(row))
