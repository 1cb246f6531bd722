"""What accounts leave in the audit trail: who did what, from where, without secrets."""

import json

import httpx2
import pytest
from account_builders import PASSWORD, Desk, account_app, account_settings, cheap_passwords

from iotistic.control.access.addresses import ClientAddresses, ProxySettings
from iotistic.control.access.model import Role
from iotistic.control.accounts.desk import AccountDesk
from iotistic.control.audit.origin import note_origins
from iotistic.control.audit.trail import AuditTrail
from iotistic.kernel.web.server import serve

FRESH = "quite another long phrase"


@pytest.fixture
async def watched(pool):
    started = Desk(pool)
    addresses = ClientAddresses.of(ProxySettings(trusted_proxies="127.0.0.1"))
    accounts = AccountDesk.of(
        pool, account_settings(), addresses, trail=AuditTrail(clock=started.clock), clock=started.clock
    )
    app = account_app(accounts, started)
    note_origins(app, addresses)
    passwords = cheap_passwords()
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
    ):
        started.attach(accounts, app, client, passwords)
        yield started
    passwords.close()
    accounts.close()


async def trail(desk):
    rows = await desk.pool.fetch("SELECT * FROM audit_logs ORDER BY id")
    return {row["event_type"]: row for row in rows}, "".join(str(dict(row)) for row in rows)


async def test_logins_are_noted_good_and_bad_and_braked_once(watched):
    user = await watched.user()
    here = {"X-Forwarded-For": "10.9.8.7", "User-Agent": "a-browser"}
    good = await watched.login(user.username, headers=here)
    for _ in range(8):
        await watched.login(user.username, "wrong-and-secret", headers=here)
    await watched.login("typed-a-password-here", "x", headers={"X-Forwarded-For": "10.9.8.6"})
    found, text = await trail(watched)
    kinds = [row["event_type"] for row in await watched.pool.fetch("SELECT event_type FROM audit_logs")]

    assert good.status_code == 200
    assert (kinds.count("login.refused"), kinds.count("login.braked")) == (6, 1)
    assert found["login.succeeded"]["user_id"] == user.id
    assert (found["login.succeeded"]["ip_address"], found["login.succeeded"]["user_agent"]) == (
        "10.9.8.7",
        "a-browser",
    )
    assert "wrong-and-secret" not in text
    assert "typed-a-password-here" not in text


async def test_changes_of_users_and_keys_are_noted_with_before_and_after(watched):
    owner = await watched.logged_in(Role.OWNER)
    act = watched.client
    body = {"username": "new-one", "email": "new@example.net", "password": FRESH}
    made = (await act.post("/users", headers=owner.headers, json=body)).json()
    await act.put(
        f"/users/{made['id']}", headers=owner.headers, json={"role": "manager", "email": "b@example.net"}
    )
    await act.post(f"/users/{made['id']}/reset-password", headers=owner.headers)
    await act.delete(f"/users/{made['id']}", headers=owner.headers)
    key = (
        await act.post("/api-keys", headers=owner.headers, json={"name": "k", "scopes": ["data:read"]})
    ).json()
    await act.delete(f"/api-keys/{key['id']}", headers=owner.headers)
    changed = {"currentPassword": PASSWORD, "newPassword": "the third phrase of many"}
    await act.post("/auth/change-password", headers=owner.headers, json=changed)
    await act.post("/auth/logout", headers=owner.headers)
    found, text = await trail(watched)
    before, after = (json.loads(found["user.changed"][name]) for name in ("before", "after"))

    assert set(found) == {
        "user.created", "user.changed", "password.reset", "user.deleted", "api_key.created", "api_key.revoked",
        "password.changed", "session.ended",
    }  # fmt: skip
    assert (before["role"], after["role"], after["email"]) == ("viewer", "manager", "[personal, changed]")
    assert found["user.changed"]["severity"] == "warning"
    assert {row["actor_id"] for row in found.values()} == {str(owner.user.id)}
    assert "example.net" not in text
    assert FRESH not in text
    assert "iotk_" not in text


async def test_a_change_that_is_refused_leaves_no_entry(watched):
    owner = await watched.logged_in(Role.OWNER)
    refused = await watched.client.delete(f"/users/{owner.user.id}", headers=owner.headers)
    found, _ = await trail(watched)

    assert (refused.status_code, found) == (400, {})


async def test_a_stolen_refresh_token_is_critical(watched):
    user = await watched.user()
    first = (await watched.login(user.username)).json()["data"]["refreshToken"]
    await watched.refresh(first)
    watched.clock.forward(seconds=60)
    await watched.refresh(first)
    found, text = await trail(watched)

    assert found["session.token_reused"]["severity"] == "critical"
    assert first not in text
