"""Accounts over real HTTP and a real database: `desk` (see account_builders.Desk).

Its passwords cost nothing to hash; those of `costly_desk` cost what they do in an installation.
"""

import contextlib
import functools

import httpx2
import pytest
from account_builders import Desk, account_app, account_settings, cheap_passwords
from redis_fixtures import redis  # noqa: F401 - a fixture for these tests

from iotistic.control.access.addresses import ClientAddresses, ProxySettings
from iotistic.control.accounts import desk as desks
from iotistic.control.accounts.desk import AccountDesk
from iotistic.control.accounts.passwords import Passwords
from iotistic.kernel.web.server import serve


@pytest.fixture
async def desk(pool, monkeypatch):
    monkeypatch.setattr(desks, "Passwords", functools.partial(Passwords, rounds=1, memory_kib=64))
    async with running_desk(pool) as started:
        yield started


@pytest.fixture
async def costly_desk(pool):
    async with running_desk(pool) as started:
        yield started


@contextlib.asynccontextmanager
async def running_desk(pool):
    started = Desk(pool)
    accounts = AccountDesk.of(
        pool,
        account_settings(),
        ClientAddresses.of(ProxySettings(trusted_proxies="127.0.0.1")),
        clock=started.clock,
    )
    app = account_app(accounts, started)
    passwords = cheap_passwords()
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
    ):
        started.attach(accounts, app, client, passwords)
        yield started
    passwords.close()
    accounts.close()
