"""Users of the broker and their rules, as people change them.

A password is shown in the answer that made it and kept nowhere; what is kept is the hash that the broker reads.
Nobody is told of a change here: the database tells (changes.py), so a change by hand counts as well.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog
from pydantic import SecretStr

from iotistic.control.broker import repository
from iotistic.control.broker.model import (
    Access,
    Acl,
    AclExists,
    AclUnknown,
    MqttUser,
    TooMany,
    UserExists,
    UserUnknown,
    check_password,
    check_topic,
    check_username,
)
from iotistic.kernel.mosquitto.passwords import CHOSEN_ITERATIONS, password_hash
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_MOST_USERS, _MOST_ACLS = 5_000, 200
_GENERATED_BYTES = 24


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class GivenUser:
    """A user, with the password where it was made here: to be shown once."""

    user: MqttUser
    password: SecretStr | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AclChange:
    """What is to change of a rule; None stays as it is."""

    topic: str | None = None
    access: Access | None = None
    priority: int | None = None


class MqttUserService:
    """The use cases."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool, self._clock = pool, clock

    async def list_all(self) -> list[MqttUser]:
        """Return every user by name, with its rules."""
        with database_errors():
            return await repository.users(self._pool)

    async def find(self, user_id: int) -> MqttUser:
        """Return one user. Raises UserUnknown."""
        with database_errors():
            found = await repository.users(self._pool, user_id=user_id)
        if not found:
            raise UserUnknown(id=user_id)
        return found[0]

    async def create(
        self, username: str, password: SecretStr | None, *, is_superuser: bool, is_active: bool, by: str
    ) -> GivenUser:
        """Make a user; without a password, one is made. Raises UsernameInvalid, PasswordInvalid, UserExists, TooMany."""
        name = check_username(username)
        made = None if password else SecretStr(secrets.token_urlsafe(_GENERATED_BYTES))
        hashed = await _hashed(password or made)
        with database_errors():
            if await repository.count(self._pool) >= _MOST_USERS:
                raise TooMany(limit=_MOST_USERS)
            user_id = await repository.add_user(
                self._pool,
                name,
                hashed,
                is_superuser=is_superuser,
                is_active=is_active,
                now=self._clock(),
            )
        if user_id is None:
            raise UserExists(username=name)
        log.info("mqtt_user.created", user_id=user_id, is_superuser=is_superuser, by=by)
        return GivenUser(await self.find(user_id), made)

    async def change(self, user_id: int, changes: dict[str, Any], *, by: str) -> MqttUser:
        """Change what is given of password, is_superuser, is_active. Raises UserUnknown, PasswordInvalid."""
        given = dict(changes)
        if (password := given.pop("password", None)) is not None:
            given["password_hash"] = await _hashed(password)
        with database_errors():
            if not await repository.change_user(self._pool, user_id, given, self._clock()):
                raise UserUnknown(id=user_id)
        log.info("mqtt_user.changed", user_id=user_id, changed=sorted(changes), by=by)
        return await self.find(user_id)

    async def remove(self, user_id: int, *, by: str) -> str:
        """Remove a user with its rules and return its name. Raises UserUnknown."""
        with database_errors():
            name = await repository.remove_user(self._pool, user_id)
        if name is None:
            raise UserUnknown(id=user_id)
        log.info("mqtt_user.removed", user_id=user_id, by=by)
        return name

    async def add_acl(self, user_id: int, topic: str, access: Access, priority: int, *, by: str) -> Acl:
        """Let a user do something. Raises UserUnknown, FilterInvalid, AclExists, TooMany."""
        topic = check_topic(topic)
        with database_errors():
            if await repository.count(self._pool, user_id) >= _MOST_ACLS:
                raise TooMany(limit=_MOST_ACLS)
            try:
                acl = await repository.add_acl(self._pool, user_id, topic, access, priority, self._clock())
            except asyncpg.ForeignKeyViolationError as exc:
                raise UserUnknown(id=user_id) from exc
        if acl is None:
            raise AclExists(topic=topic, hint="change the rule that there is")
        log.info("mqtt_acl.created", acl_id=acl.id, user_id=user_id, access=int(access), by=by)
        return acl

    async def change_acl(self, acl_id: int, change: AclChange, *, by: str) -> Acl:
        """Change a rule. Raises AclUnknown, FilterInvalid, AclExists."""
        topic = None if change.topic is None else check_topic(change.topic)
        with database_errors():
            try:
                acl = await repository.change_acl(
                    self._pool, acl_id, topic=topic, access=change.access, priority=change.priority
                )
            except asyncpg.UniqueViolationError as exc:
                raise AclExists(topic=topic) from exc
        if acl is None:
            raise AclUnknown(id=acl_id)
        log.info("mqtt_acl.changed", acl_id=acl_id, by=by)
        return acl

    async def remove_acl(self, acl_id: int, *, by: str) -> None:
        """Take a rule away. Raises AclUnknown."""
        with database_errors():
            if not await repository.remove_acl(self._pool, acl_id):
                raise AclUnknown(id=acl_id)
        log.info("mqtt_acl.removed", acl_id=acl_id, by=by)


async def _hashed(password: SecretStr | None) -> str:
    plain = check_password(password.get_secret_value() if password else "")
    return await asyncio.to_thread(password_hash, plain, iterations=CHOSEN_ITERATIONS)
