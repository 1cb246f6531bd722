r"""Log in, refresh, log out.

A login begins a session. Its refresh token is used once and replaced by the next; a used one that comes
back was stolen, or its thief's was: the session ends for both. Two that come at the same moment are a
page open twice, so a token that was used less than ten seconds ago is refused, and nothing more.

    login --> token 1 --refresh--> token 2 --refresh--> token 3
                 \-- again --> the session ends, and tokens 2 and 3 with it

Access tokens are compared with the session on every request: what has ended has ended at once.
"""

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from pydantic import SecretStr

from iotistic.control.access.model import UserPrincipal
from iotistic.control.accounts import repository, session_repository
from iotistic.control.accounts.brake import Brake, TooManyLogins
from iotistic.control.accounts.model import (
    EndReason,
    LoginRefused,
    Origin,
    RefreshRaced,
    RefreshRefused,
    Session,
    SessionUnknown,
    User,
)
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.repository import Database
from iotistic.control.accounts.tokens import REFRESH, AccessTokens, Secret
from iotistic.control.audit.port import NO_TRAIL, Severity, Subject, Trail
from iotistic.control.audit.seldom import Seldom
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.auth import digest

log = structlog.get_logger()

RACE = timedelta(seconds=10)
_FAILURE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a login or a refresh gives."""

    access: str
    access_lifetime_s: int
    refresh: SecretStr
    user: User


class SessionService:
    """Sessions of people."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        passwords: Passwords,
        access_tokens: AccessTokens,
        brake: Brake,
        lifetime: timedelta,
        clock: Callable[[], datetime],
        failure_s: float = _FAILURE_S,
        trail: Trail = NO_TRAIL,
    ) -> None:
        """`failure_s`: a refused login takes at least so long, whatever it was refused for."""
        self._pool = pool
        self._passwords = passwords
        self._access_tokens = access_tokens
        self._brake = brake
        self._lifetime = lifetime
        self._clock = clock
        self._failure_s = failure_s
        self._trail = trail
        self._seldom = Seldom()

    async def login(self, name: str, password: str, origin: Origin) -> Tokens:
        """Begin a session. Raises LoginRefused, TooManyLogins, HashingBusy."""
        try:
            await self._brake.attempt(name, origin.site)
        except TooManyLogins:
            await self._note_brake(origin)
            raise
        at_least = asyncio.create_task(asyncio.sleep(self._failure_s))
        try:
            async with self._passwords.turn():
                tokens = await self._login(name.strip(), password, origin)
            if tokens is None:
                await at_least
                log.info("login.refused", address=origin.address)
                raise LoginRefused(hint="check both; an owner can set a new password")
        finally:
            at_least.cancel()
        await self._brake.succeeded(name, origin.site)
        log.info("session.started", user_id=str(tokens.user.id), address=origin.address)
        return tokens

    async def _login(self, name: str, password: str, origin: Origin) -> Tokens | None:
        with database_errors():
            found = await repository.find_for_login(self._pool, name.replace("\0", ""))
        user, known = found or (None, None)
        fits, better = await self._passwords.verify(password, known)
        if not fits or user is None or known is None:
            # Who was meant is told only where the name is one: what is typed there may be a password.
            subject = ("user", user.id) if user else ("user", "unknown")
            with database_errors():
                await self._note_refusal(self._pool, subject, origin)
            return None
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                return await self._start(connection, user, known=known, better=better, origin=origin)

    async def _note_refusal(self, db: Database, subject: Subject, origin: Origin) -> None:
        await self._trail.record(db, None, "login.refused", subject, severity=Severity.WARNING, origin=origin)

    async def _note_brake(self, origin: Origin) -> None:
        if self._seldom.is_due(origin.site):
            with database_errors():
                await self._trail.record(
                    self._pool,
                    None,
                    "login.braked",
                    ("address", origin.site),
                    severity=Severity.WARNING,
                    origin=origin,
                )

    async def _start(
        self, db: Database, user: User, *, known: str, better: str | None, origin: Origin
    ) -> Tokens | None:
        now, secret = self._clock(), REFRESH.make()
        as_is = await repository.logged_in(db, user.id, known, better=better, now=now)
        session_id = as_is and await session_repository.open_session(
            db, user.id, origin, secret, expires_at=now + self._lifetime, now=now
        )
        # Between our look and now the account may have been closed, or its password changed.
        if as_is is None or session_id is None:
            await self._note_refusal(db, ("user", user.id), origin)
            return None
        await self._trail.record(
            db, f"user:{user.id}", "login.succeeded", ("session", session_id), origin=origin
        )
        return self._tokens(as_is, session_id, secret, now)

    def _tokens(self, user: User, session_id: UUID, secret: Secret, now: datetime) -> Tokens:
        return Tokens(
            access=self._access_tokens.sign(user, session_id, now),
            access_lifetime_s=self._access_tokens.lifetime_s,
            refresh=secret.shown,
            user=user,
        )

    async def refresh(self, presented: str) -> Tokens:
        """Replace a refresh token by the next. Raises RefreshRefused, RefreshRaced."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                outcome = await self._refresh(connection, presented, now)
        # Raised only here: an error inside would roll back the end of the session.
        if isinstance(outcome, Tokens):
            return outcome
        raise outcome

    async def _refresh(self, db: Database, presented: str, now: datetime) -> Tokens | Exception:
        token_id, session = await self._session_of(db, presented)
        if session is None or not session.is_open(now):
            return RefreshRefused(hint="log in again")
        if not await session_repository.use_token(db, token_id, now):
            return await self._used_again(db, token_id, session, now)
        user = await repository.find(db, session.user_id)
        if user is None or not user.is_active:
            return RefreshRefused(hint="log in again")
        await session_repository.prolong(db, session.id, expires_at=now + self._lifetime, now=now)
        secret = REFRESH.make()
        await session_repository.keep_token(db, session.id, secret, now)
        return self._tokens(user, session.id, secret, now)

    async def _used_again(
        self, db: Database, token_id: str, session: Session, now: datetime
    ) -> RefreshRaced | RefreshRefused:
        token = await session_repository.find_token(db, token_id)
        if token and token.used_at and now - token.used_at < RACE:
            return RefreshRaced(hint="if you have no newer token, log in again")
        await session_repository.end(db, session.id, session.user_id, EndReason.REUSE, now)
        await self._trail.record(
            db,
            None,
            "session.token_reused",
            ("session", session.id),
            severity=Severity.CRITICAL,
            details={"user_id": session.user_id},
        )
        log.warning("session.token_reused", user_id=str(session.user_id), session_id=str(session.id))
        return RefreshRefused(
            "this refresh token was used before: it may have been stolen, so its session has been ended",
            hint="log in again; if this was not you, change your password",
        )

    async def _session_of(self, db: Database, presented: str) -> tuple[str, Session | None]:
        """Return the token's id and its session, locked; no session for a token that is not ours."""
        token_id = REFRESH.id_of(presented)
        token = await session_repository.find_token(db, token_id) if token_id else None
        if token_id is None or token is None or not hmac.compare_digest(token.digest, digest(presented)):
            return "", None
        return token_id, await session_repository.lock(db, token.session_id)

    async def logout(self, caller: UserPrincipal, presented: str | None = None) -> None:
        """End the caller's session, or the one of the refresh token presented. Raises SessionUnknown."""
        if presented is None:
            return await self.end(caller, caller.session_id, EndReason.LOGOUT)
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                _, session = await self._session_of(connection, presented)
        if session is None:
            raise SessionUnknown
        await self.end(caller, session.id, EndReason.LOGOUT)
        return None

    async def end(
        self, caller: UserPrincipal, session_id: UUID, reason: EndReason = EndReason.REVOKED
    ) -> None:
        """End one of the caller's own sessions. Raises SessionUnknown."""
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                if not await session_repository.end(
                    connection, session_id, caller.user_id, reason, self._clock()
                ):
                    raise SessionUnknown
                await self._trail.record(
                    connection, caller, "session.ended", ("session", session_id), details={"reason": reason}
                )
        log.info("session.ended", user_id=str(caller.user_id), session_id=str(session_id), reason=reason)

    async def end_all(self, caller: UserPrincipal) -> int:
        """End all of the caller's sessions, this one too; return how many."""
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                count = await session_repository.end_all(
                    connection, caller.user_id, EndReason.LOGOUT, self._clock()
                )
                await self._trail.record(
                    connection,
                    caller,
                    "session.all_ended",
                    ("user", caller.user_id),
                    details={"count": count},
                )
        return count

    async def list_open(self, caller: UserPrincipal) -> list[Session]:
        """Return the caller's sessions."""
        with database_errors():
            return await session_repository.list_open(self._pool, caller.user_id, self._clock())

    async def forget_ended(self, *, older_than: timedelta = timedelta(days=30)) -> int:
        """Remove sessions that are over since `older_than`; for the housekeeper."""
        with database_errors():
            return await session_repository.forget(self._pool, self._clock() - older_than)
