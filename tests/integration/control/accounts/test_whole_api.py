"""The API as it is served, every route: each credential is let in exactly where the declaration says so."""

import re
from uuid import uuid4

import httpx2
import pytest
from account_builders import JWT_SECRET, Desk, cheap_passwords
from described_answers import answers_as_described
from pydantic import SecretStr
from test_route_permissions import (
    A_DEVICE,
    A_PERSON,
    ROLES,
    THAT_DEVICE,
    a_deactivated_owner,
    a_narrow_key,
    a_wrong_token,
    an_expired_key,
    an_expired_token,
    an_owners_key,
    nothing,
)

from iotistic.control.access.model import KEY_SCOPES
from iotistic.control.access.routing import check_routes
from iotistic.control.devices.keys import make_api_key
from iotistic.control.devices.model import NewDevice
from iotistic.control.devices.repository import add
from iotistic.control.devices.service import utc_now
from iotistic.entrypoints.api import BASE, add_control, create_api_app
from iotistic.entrypoints.control.rooms import ControlPlane, Ground
from iotistic.entrypoints.control.settings import ControlSettings
from iotistic.kernel.home import Home
from iotistic.kernel.web.server import serve
from iotistic.telemetry.live.hub import LiveHub

pytestmark = pytest.mark.slow

OPERATOR = "operator-token-of-the-tests"
OWN_KEY = "the device's own API key"
OPEN = ("public: ", "a caller on this machine")
OF_DEVICES = (A_DEVICE, THAT_DEVICE, OWN_KEY)
CHECKED_INSIDE = re.compile(r"key|credential|proof|signature|challenge|registration", re.IGNORECASE)
"""Routes that devices come by before, or with, the read that answers: their own tests try them."""
ENDLESS = ("/stream", "/follow")


class Silent:
    """A broker that takes everything."""

    async def publish(self, topic, payload, *, expiry_s=None):
        """Take it."""


@pytest.fixture
async def whole(pool, tmp_path):
    started = Desk(pool)
    home = Home(tmp_path / "home")
    home.create()
    secrets = ("alert_signing_secret", "broker_auth_token", "broker_secret", "provisioning_secret")
    settings = ControlSettings(
        jwt_secret=JWT_SECRET, trusted_proxies="127.0.0.1", **dict.fromkeys(secrets, "secret " * 8)
    )
    ground = Ground(
        pool=pool,
        home=home,
        settings=settings,
        publisher=Silent(),
        operator=SecretStr(OPERATOR),
        clock=started.clock,
    )
    control = ControlPlane.of(ground)
    app = create_api_app(pool, LiveHub(tmp_path), Silent(), gate=control.gate(base=BASE))
    add_control(app, control)
    passwords = cheap_passwords()
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
    ):
        started.attach(control.accounts, app, client, passwords)
        yield started, control
    passwords.close()
    control.close()


async def device(control, desk):
    """Return the uuid and the key of a device."""
    uuid, key = str(uuid4()), make_api_key()
    async with desk.pool.acquire() as db, db.transaction():
        await add(db, NewDevice(uuid=uuid, name="press", type="gateway", fleet_id="hall"), utc_now())
        await control.devices.register_key(db, uuid, key)
    return uuid, key


def guarded(app):
    """Return the routes that need a person, a key or a device; those that check inside are left out."""
    table = check_routes(app)
    return [need for need in table if not all(_is_open(rule) for rule in need.rules)]


def _is_open(rule):
    return rule.startswith(OPEN) or (
        rule not in OF_DEVICES and ":" not in rule and bool(CHECKED_INSIDE.search(rule))
    )


async def is_let_in(desk, need, headers, uuid):
    """Whether a route let a credential in; what it then makes of an empty request is another matter."""
    path = re.sub(r"{uuid(:path)?}", uuid, need.path)
    path = re.sub(r"{(key_id)}", "0" * 12, path)
    path = re.sub(r"{[a-z_]*(number|position|pin|connector|template_id|id)(:[a-z]+)?}", "1", path)
    path = re.sub(r"{[^}]+}", lambda _: str(uuid4()), path)
    answer = await desk.client.request(need.method, path, headers=headers | desk.from_elsewhere())
    assert answer.status_code in {503, *range(500)}, (str(need), answer.text)
    code = answer.json().get("code", "") if "problem" in answer.headers.get("content-type", "") else ""
    return not (answer.status_code == 401 or code.startswith("auth."))


async def check(desk, make_headers, met, uuid):
    needs = [need for need in guarded(desk.app) if not need.path.endswith(ENDLESS)]
    headers = await make_headers(desk)
    allowed = []
    for need in needs:
        # What ends a session would end that of the next route.
        fresh = await make_headers(desk) if "/auth/" in need.path or "/users" in need.path else headers
        if await is_let_in(desk, need, fresh, uuid):
            allowed.append(str(need))
    expected = [str(need) for need in needs if all(_is_met(rule, met) for rule in need.rules)]
    assert allowed == expected


def _is_met(rule, met):
    return _is_open(rule) or any(part in met for part in rule.split(", or "))


def _is_for_devices(need):
    return any(part in OF_DEVICES for rule in need.rules for part in rule.split(", or "))


STRANGERS = {
    "none": nothing,
    "wrong": a_wrong_token,
    "expired": an_expired_token,
    "deactivated": a_deactivated_owner,
    "expired key": an_expired_key,
}


@pytest.mark.parametrize("role", ROLES)
async def test_people_are_let_in_by_their_roles(whole, role):
    desk, control = whole
    make_headers, met = ROLES[role]
    uuid, _ = await device(control, desk)

    await check(desk, make_headers, met, uuid)


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_strangers_are_let_in_nowhere(whole, stranger):
    desk, control = whole
    uuid, _ = await device(control, desk)

    await check(desk, STRANGERS[stranger], set(), uuid)


@pytest.mark.parametrize(
    ("make", "met"),
    [(an_owners_key, {scope.value for scope in KEY_SCOPES}), (a_narrow_key, {"data:read"})],
    ids=["owner's key", "narrow key"],
)
async def test_api_keys_are_let_in_by_their_scopes(whole, make, met):
    desk, control = whole
    uuid, _ = await device(control, desk)

    await check(desk, make, met, uuid)


async def test_the_operators_token_opens_everything_but_what_is_for_people_and_devices(whole):
    desk, control = whole
    uuid, _ = await device(control, desk)
    every = {rule for need in guarded(desk.app) for rule in need.rules}
    met = {rule for rule in every if rule not in OF_DEVICES and "a person" not in rule}

    async def operator(_desk):
        return {"Authorization": f"Bearer {OPERATOR}"}

    desk.client.event_hooks = {"response": [answers_as_described(desk.app)]}
    await check(desk, operator, met, uuid)


async def test_a_device_is_let_in_for_itself_and_never_for_another(whole):
    desk, control = whole
    own, key = await device(control, desk)
    other, _ = await device(control, desk)
    headers = {"X-Device-API-Key": key}
    needs = [need for need in guarded(desk.app) if "{uuid" in need.path and set(need.rules) & set(OF_DEVICES)]
    # Leaving comes last: after it there is no device.
    needs.sort(key=lambda need: need.method == "DELETE")

    elsewhere = [str(need) for need in needs if await is_let_in(desk, need, headers, other)]
    at_home = [str(need) for need in needs if await is_let_in(desk, need, headers, own)]

    assert elsewhere == []
    assert at_home == [str(need) for need in needs]


def test_what_a_person_may_is_named_by_permissions():
    assert A_PERSON in ROLES["viewer"][1]
