"""Accounts put together: services, routes and the gate that control/access asks, from settings and a pool."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
from fastapi import APIRouter
from limits.aio.storage import Storage

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.rules import DeviceSource, Gate
from iotistic.control.accounts.api_keys import ApiKeyService
from iotistic.control.accounts.auth_routes import auth_router
from iotistic.control.accounts.brake import Brake
from iotistic.control.accounts.identity import Identities
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.routes import api_key_router, user_router
from iotistic.control.accounts.service import UserService
from iotistic.control.accounts.sessions import SessionService
from iotistic.control.accounts.settings import AccountSettings
from iotistic.control.accounts.tokens import AccessTokens
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.kernel.web.attempts import FailedAttempts


def utc_now() -> datetime:
    """Return the time as everything here takes it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class AccountDesk:
    """What a process needs to serve accounts; close it when the process ends."""

    passwords: Passwords
    sessions: SessionService
    users: UserService
    api_keys: ApiKeyService
    identities: Identities
    addresses: ClientAddresses

    @classmethod
    def of(
        cls,
        pool: asyncpg.Pool,
        settings: AccountSettings,
        addresses: ClientAddresses,
        *,
        counts: Storage | None = None,
        trail: Trail = NO_TRAIL,
        hashes_apart: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> "AccountDesk":
        """Build it; `counts` (from shared_counts.py) is where several processes count logins together.

        `trail` is told of logins, and of changes of users, sessions and keys. With `hashes_apart` passwords are hashed
        in processes of their own.
        """
        passwords = Passwords(
            threads=settings.password_threads, queue=settings.password_queue, is_apart=hashes_apart
        )
        access_tokens = AccessTokens(
            settings.jwt_secret, lifetime=timedelta(minutes=settings.access_token_minutes)
        )
        brake = Brake(settings, counts)
        api_keys = ApiKeyService(pool, clock=clock, trail=trail)
        return cls(
            passwords=passwords,
            sessions=SessionService(
                pool,
                passwords=passwords,
                access_tokens=access_tokens,
                brake=brake,
                lifetime=timedelta(days=settings.session_days),
                clock=clock,
                trail=trail,
            ),
            users=UserService(
                pool,
                passwords=passwords,
                brake=brake,
                password_min_length=settings.password_min_length,
                clock=clock,
                trail=trail,
            ),
            api_keys=api_keys,
            identities=Identities(pool, access_tokens=access_tokens, api_keys=api_keys, clock=clock),
            addresses=addresses,
        )

    def gate(self, devices: DeviceSource | None) -> Gate:
        """Return what `install_gate` takes; `devices` is where device credentials are looked up."""
        return Gate(
            callers=self.identities, devices=devices, addresses=self.addresses, attempts=FailedAttempts()
        )

    def router(self) -> APIRouter:
        """Return /auth, /users and /api-keys."""
        router = APIRouter()
        router.include_router(auth_router(self.sessions, self.users, self.addresses))
        router.include_router(user_router(self.users))
        router.include_router(api_key_router(self.api_keys))
        return router

    def close(self) -> None:
        """End the threads that hash."""
        self.passwords.close()
