"""Accounts, as people make and change them.

Whoever chose a password for somebody else does not know it for long: it has to be changed at the first
login. Sessions and API keys end with what they rest on: a new password, a closed account.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog
from pydantic import SecretStr

from iotistic.control.access.model import Role, UserPrincipal
from iotistic.control.accounts import repository, session_repository
from iotistic.control.accounts.brake import Brake
from iotistic.control.accounts.model import (
    CurrentPasswordWrong,
    EndReason,
    LastOwner,
    NewUser,
    Origin,
    OwnAccount,
    OwnerOnly,
    RoleTooHigh,
    User,
    UserUnknown,
)
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.policy import check_email, check_password, check_username
from iotistic.control.accounts.repository import Database
from iotistic.control.audit.port import NO_TRAIL, Severity, Trail
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_GENERATED_BYTES = 15


@dataclass(frozen=True)
class GivenPassword:
    """A password that we made, to be told to its user once."""

    user: User
    password: SecretStr


def generated_password() -> SecretStr:
    """Return a random password of 20 characters."""
    return SecretStr(secrets.token_urlsafe(_GENERATED_BYTES))


class UserService:
    """Makes, changes and removes accounts."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        passwords: Passwords,
        brake: Brake,
        password_min_length: int,
        clock: Callable[[], datetime],
        trail: Trail = NO_TRAIL,
    ) -> None:
        self._pool = pool
        self._passwords = passwords
        self._brake = brake
        self._least = password_min_length
        self._clock = clock
        self._trail = trail

    async def list_all(self) -> list[User]:
        """Return every account by name."""
        with database_errors():
            return await repository.list_all(self._pool)

    async def find(self, user_id: UUID) -> User:
        """Return one account. Raises UserUnknown."""
        with database_errors():
            found = await repository.find(self._pool, user_id)
        return _known(found)

    async def create(self, user: NewUser, password: str, *, by: UserPrincipal) -> User:
        """Make an account. Raises UserInvalid, PasswordRefused, RoleTooHigh, UserTaken."""
        check_username(user.username)
        check_email(user.email)
        if not by.role.may_manage(user.role):
            raise RoleTooHigh(hint="ask an owner", role=user.role.value)
        self._check(password, user.username, user.email, user.full_name)
        hashed = await self._passwords.hash(password)
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                made = await repository.add(connection, user, hashed, self._clock())
                await self._trail.record(connection, by, "user.created", ("user", made.id), after=made)
        log.info("user.created", user_id=str(made.id), role=made.role, by=by.name)
        return made

    async def change(self, user_id: UUID, values: Mapping[str, object], *, by: UserPrincipal) -> User:
        """Change `email`, `full_name`, `role`, `is_active`: what `values` names, and nothing else.

        Raises UserUnknown, UserInvalid, UserTaken, RoleTooHigh, OwnAccount, LastOwner.
        """
        if "email" in values:
            check_email(str(values["email"]))
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                changed = await self._change(connection, user_id, values, by)
        log.info("user.changed", user_id=str(user_id), fields=sorted(values), by=by.name)
        return changed

    async def _change(
        self, db: Database, user_id: UUID, values: Mapping[str, object], by: UserPrincipal
    ) -> User:
        await repository.lock_owners(db)
        user = await self._manageable(db, user_id, by)
        role = Role(str(values.get("role", user.role)))
        is_own = user_id == by.user_id
        if is_own and (role is not user.role or values.get("is_active") is False):
            raise OwnAccount(hint="ask another owner")
        if role is not user.role and not by.role.may_manage(role):
            raise RoleTooHigh(hint="ask an owner", role=role.value)
        now = self._clock()
        changed = _known(await repository.change(db, user_id, values, now))
        await self._require_an_owner(db, instead_of=user)
        await self._trail.record(
            db,
            by,
            "user.changed",
            ("user", user_id),
            before=user,
            after=changed,
            severity=Severity.INFO if role is user.role else Severity.WARNING,
        )
        if not changed.is_active:
            await session_repository.end_all(db, user_id, EndReason.DEACTIVATED, now)
        return changed

    async def delete(self, user_id: UUID, *, by: UserPrincipal) -> None:
        """Remove an account. Raises UserUnknown, RoleTooHigh, OwnAccount, LastOwner."""
        if user_id == by.user_id:
            raise OwnAccount(hint="ask another owner")
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await repository.lock_owners(connection)
                user = await self._manageable(connection, user_id, by)
                await repository.delete(connection, user_id)
                await self._trail.record(
                    connection, by, "user.deleted", ("user", user_id), before=user, severity=Severity.WARNING
                )
                await self._require_an_owner(connection, instead_of=user)
        log.info("user.deleted", user_id=str(user_id), by=by.name)

    async def _manageable(self, db: Database, user_id: UUID, by: UserPrincipal) -> User:
        """Return the account, locked; raise UserUnknown, or RoleTooHigh when the caller does not manage it."""
        user = _known(await repository.lock(db, user_id))
        if user_id != by.user_id and not by.role.may_manage(user.role):
            raise RoleTooHigh(hint="ask an owner", role=user.role.value)
        return user

    async def _require_an_owner(self, db: Database, *, instead_of: User) -> None:
        if instead_of.role is Role.OWNER and instead_of.is_active and await repository.count_owners(db) == 0:
            raise LastOwner(hint="make somebody else an owner first")

    async def change_password(self, caller: UserPrincipal, current: str, new: str, origin: Origin) -> None:
        """Replace the caller's password; all sessions but this one end.

        Raises CurrentPasswordWrong, PasswordRefused, TooManyLogins, HashingBusy.
        """
        # A stolen session is not to find out the password by guessing here.
        await self._brake.attempt(caller.username, origin.site)
        with database_errors():
            user = _known(await repository.find(self._pool, caller.user_id))
            known = await repository.password_hash(self._pool, caller.user_id)
        fits, _ = await self._passwords.verify(current, known)
        if not fits:
            with database_errors():
                await self._trail.record(
                    self._pool,
                    caller,
                    "password.change_refused",
                    ("user", user.id),
                    severity=Severity.WARNING,
                    origin=origin,
                )
            raise CurrentPasswordWrong(hint="an owner can set a new one")
        await self._brake.succeeded(caller.username, origin.site)
        self._check(new, user.username, user.email, user.full_name)
        await self._replace(user, new, must_change=False, but=caller.session_id, by=caller)
        log.info("password.changed", user_id=str(caller.user_id))

    async def reset_password(self, user_id: UUID, *, by: UserPrincipal) -> GivenPassword:
        """Give an account a random password, to be changed at the next login; all of its sessions end.

        Raises OwnerOnly, OwnAccount, UserUnknown.
        """
        if by.role is not Role.OWNER:
            raise OwnerOnly(hint="ask an owner")
        if user_id == by.user_id:
            raise OwnAccount(hint="POST /auth/change-password")
        user = await self.find(user_id)
        password = generated_password()
        await self._replace(user, password.get_secret_value(), must_change=True, but=None, by=by)
        log.info("password.reset", user_id=str(user_id), by=by.name)
        return GivenPassword(await self.find(user_id), password)

    async def _replace(
        self, user: User, password: str, *, must_change: bool, but: UUID | None, by: UserPrincipal
    ) -> None:
        hashed = await self._passwords.hash(password)
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await repository.lock(connection, user.id)
                await repository.set_password(connection, user.id, hashed, must_change=must_change, now=now)
                await session_repository.end_all(connection, user.id, EndReason.PASSWORD, now, but=but)
                action = "password.reset" if must_change else "password.changed"
                await self._trail.record(connection, by, action, ("user", user.id), severity=Severity.WARNING)

    def _check(self, password: str, *names: str) -> None:
        check_password(password, least=self._least, names=names)


def _known(user: User | None) -> User:
    if user is None:
        raise UserUnknown
    return user
