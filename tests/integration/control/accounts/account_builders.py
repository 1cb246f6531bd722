"""Builders for tests of accounts: an app, people, sessions, keys."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar
from uuid import UUID, uuid4

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

from iotistic.control.access.model import DevicePrincipal, Permission, Role, UserPrincipal
from iotistic.control.access.rules import device_credential, install_gate, requires
from iotistic.control.accounts import repository, session_repository
from iotistic.control.accounts.desk import AccountDesk
from iotistic.control.accounts.model import NewUser, Origin, User
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.settings import AccountSettings
from iotistic.control.accounts.tokens import REFRESH, AccessTokens
from iotistic.kernel.web.app import create_app

PASSWORD = "four random words together"
JWT_SECRET = SecretStr("the-signing-secret-of-these-tests-only")
THIS_DEVICE, OTHER_DEVICE = uuid4(), uuid4()


def account_settings(**others) -> AccountSettings:
    return AccountSettings(jwt_secret=JWT_SECRET, **others)


def cheap_passwords() -> Passwords:
    """Hashes that cost nothing, for people who only have to exist."""
    return Passwords(rounds=1, memory_kib=64)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


class TwoDevices:
    """Stands for the devices of the control plane: two, with a key each."""

    keys: ClassVar = {"key-of-this-device": THIS_DEVICE, "key-of-the-other-device": OTHER_DEVICE}

    async def find(self, key: str, claimed: UUID | None) -> DevicePrincipal | None:
        found = self.keys.get(key)
        return DevicePrincipal(device_uuid=found) if found else None


def account_app(accounts: AccountDesk, started: "Desk") -> FastAPI:
    """Return an app with the routes of accounts, one for each permission, and some for devices."""
    app = create_app(title="accounts", version="0", description="under test")
    install_gate(app, accounts.gate(TwoDevices()))
    app.include_router(accounts.router())

    def add(permission: Permission) -> None:
        @app.get(f"/needs/{permission.value}", dependencies=[requires(permission)])
        async def needing() -> str:
            return permission.value

    for permission in Permission:
        add(permission)

    @app.get("/device/{uuid}/state")
    async def own_state(
        uuid: UUID, caller: Annotated[DevicePrincipal, device_credential(path="uuid")]
    ) -> UUID:
        return caller.device_uuid

    @app.get("/device/any")
    async def any_device(caller: Annotated[DevicePrincipal, device_credential()]) -> UUID:
        return caller.device_uuid

    return app


@dataclass
class LoggedIn:
    """A person with a session: made without a password, so that it costs nothing."""

    user: User
    session_id: UUID
    access: str
    refresh: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"}

    @property
    def principal(self) -> UserPrincipal:
        return UserPrincipal(
            user_id=self.user.id, username=self.user.username, role=self.user.role, session_id=self.session_id
        )


class Desk:
    """A running API of accounts, and ways to people it."""

    def __init__(self, pool) -> None:
        self.pool = pool
        self.clock = Clock()
        self._numbers = itertools.count(1)

    def attach(self, accounts: AccountDesk, app: FastAPI, client: httpx2.AsyncClient, passwords) -> None:
        self.accounts, self.app, self.client, self.passwords = accounts, app, client, passwords

    def from_elsewhere(self) -> dict[str, str]:
        """Return the header that our proxy adds for a caller of whom it has not heard before."""
        number = next(self._numbers)
        return {"X-Forwarded-For": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}

    async def user(
        self, role: Role = Role.VIEWER, *, username: str | None = None, password_hash: str | None = None
    ) -> User:
        name = username or f"{role.value}-{uuid4().hex[:8]}"
        new = NewUser(username=name, email=f"{name}@example.net", role=role, must_change_password=False)
        hashed = password_hash or await self.passwords.hash(PASSWORD)
        return await repository.add(self.pool, new, hashed, self.clock())

    async def logged_in(self, role: Role = Role.VIEWER, *, user: User | None = None) -> LoggedIn:
        user = user or await self.user(role)
        now, secret = self.clock(), REFRESH.make()
        session_id = await session_repository.open_session(
            self.pool, user.id, Origin("", ""), secret, expires_at=now + timedelta(days=7), now=now
        )
        assert session_id is not None
        access = AccessTokens(JWT_SECRET, lifetime=timedelta(minutes=15)).sign(user, session_id, now)
        return LoggedIn(user, session_id, access, secret.shown.get_secret_value())

    async def login(
        self, name: str, password: str = PASSWORD, *, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        return await self.client.post(
            "/auth/login",
            json={"username": name, "password": password},
            headers=self.from_elsewhere() if headers is None else headers,
        )

    async def refresh(self, token: str) -> httpx2.Response:
        return await self.client.post("/auth/refresh", json={"refreshToken": token})

    async def is_in(self, access: str) -> bool:
        """Whether an access token opens one's own account."""
        answer = await self.client.get(
            "/auth/me", headers={"Authorization": f"Bearer {access}"} | self.from_elsewhere()
        )
        return answer.status_code == 200
