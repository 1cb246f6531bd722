"""Every route times every credential: let in exactly where the route's declaration says so."""

import itertools
from datetime import timedelta
from uuid import uuid4

import jwt
import pytest
from account_builders import JWT_SECRET, OTHER_DEVICE, THIS_DEVICE

from iotistic.control.access.model import KEY_SCOPES, ROLE_PERMISSIONS, Permission, Role
from iotistic.control.access.routing import check_routes
from iotistic.control.accounts.tokens import API_KEY

pytestmark = pytest.mark.slow

EVERY_PERMISSION = {permission.value for permission in Permission}
A_PERSON, A_DEVICE, THAT_DEVICE = "a person", "a device's credential", "the credential of device {uuid}"
OUTSIDE = {"/metrics"}  # let in by where the connection comes from


def needs_met_by_role(role):
    held = {permission.value for permission in ROLE_PERMISSIONS[role]}
    return held | {A_PERSON} | {f"{permission}, a person" for permission in held}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def role_headers(desk, role):
    return (await desk.logged_in(role)).headers


async def nothing(_desk):
    return {}


async def a_wrong_token(_desk):
    return bearer("not-a-token-at-all")


async def a_token_of_another_secret(desk):
    someone = await desk.logged_in(Role.OWNER)
    claims = jwt.decode(someone.access, options={"verify_signature": False})
    return bearer(jwt.encode(claims, "another-secret-that-is-long-enough-too", algorithm="HS256"))


async def an_unsigned_token(desk):
    someone = await desk.logged_in(Role.OWNER)
    claims = jwt.decode(someone.access, options={"verify_signature": False})
    return bearer(jwt.encode(claims, None, algorithm="none"))


async def a_token_for_something_else(desk):
    someone = await desk.logged_in(Role.OWNER)
    claims = jwt.decode(someone.access, options={"verify_signature": False})
    return bearer(jwt.encode(claims | {"type": "refresh"}, JWT_SECRET.get_secret_value(), algorithm="HS256"))


async def an_expired_token(desk):
    desk.clock.forward(minutes=-16)
    someone = await desk.logged_in(Role.OWNER)
    desk.clock.forward(minutes=16)
    return someone.headers


async def an_ended_session(desk):
    someone = await desk.logged_in(Role.OWNER)
    await desk.accounts.sessions.logout(someone.principal)
    return someone.headers


async def a_session_of_another_user(desk):
    one, other = await desk.logged_in(Role.OWNER), await desk.logged_in(Role.VIEWER)
    claims = jwt.decode(one.access, options={"verify_signature": False}) | {"sid": str(other.session_id)}
    return bearer(jwt.encode(claims, JWT_SECRET.get_secret_value(), algorithm="HS256"))


async def a_deactivated_owner(desk):
    someone = await desk.logged_in(Role.OWNER)
    await desk.pool.execute("UPDATE users SET is_active = false WHERE id = $1", someone.user.id)
    return someone.headers


async def a_refresh_token(desk):
    return bearer((await desk.logged_in(Role.OWNER)).refresh)


async def api_key(desk, *, scopes=KEY_SCOPES, role=Role.OWNER, expires_in=None):
    someone = await desk.logged_in(role)
    made = await desk.accounts.api_keys.create("test", frozenset(scopes), expires_in, by=someone.principal)
    return made.secret.get_secret_value(), someone


async def a_revoked_key(desk):
    secret, someone = await api_key(desk)
    await desk.accounts.api_keys.revoke(API_KEY.id_of(secret), by=someone.principal)
    return bearer(secret)


async def an_expired_key(desk):
    desk.clock.forward(days=-2)
    secret, _ = await api_key(desk, expires_in=timedelta(days=1))
    desk.clock.forward(days=2)
    return bearer(secret)


async def a_key_with_another_secret(desk):
    secret, _ = await api_key(desk)
    return bearer(secret[:-4] + "AAAA")


async def a_key_of_a_deactivated_owner(desk):
    secret, someone = await api_key(desk)
    await desk.pool.execute("UPDATE users SET is_active = false WHERE id = $1", someone.user.id)
    return bearer(secret)


async def an_owners_key(desk):
    return bearer((await api_key(desk))[0])


async def a_narrow_key(desk):
    return bearer((await api_key(desk, scopes={Permission.DATA_READ}))[0])


async def a_key_of_a_demoted_owner(desk):
    secret, someone = await api_key(desk)
    await desk.pool.execute("UPDATE users SET role = 'viewer' WHERE id = $1", someone.user.id)
    return bearer(secret)


async def this_device(_desk):
    return {"X-Device-API-Key": "key-of-this-device"}


async def this_device_as_bearer(_desk):
    return bearer("key-of-this-device")


async def the_other_device(_desk):
    return {"X-Device-API-Key": "key-of-the-other-device"}


async def a_wrong_device(_desk):
    return {"X-Device-API-Key": "key-of-no-device"}


ROLES = {
    role.value: (lambda desk, role=role: role_headers(desk, role), needs_met_by_role(role)) for role in Role
}
CREDENTIALS = ROLES | {
    "none": (nothing, set()),
    "wrong": (a_wrong_token, set()),
    "signed with another secret": (a_token_of_another_secret, set()),
    "unsigned": (an_unsigned_token, set()),
    "for something else": (a_token_for_something_else, set()),
    "expired": (an_expired_token, set()),
    "logged out": (an_ended_session, set()),
    "session of another user": (a_session_of_another_user, set()),
    "deactivated": (a_deactivated_owner, set()),
    "refresh token": (a_refresh_token, set()),
    "revoked key": (a_revoked_key, set()),
    "expired key": (an_expired_key, set()),
    "key with another secret": (a_key_with_another_secret, set()),
    "key of a deactivated owner": (a_key_of_a_deactivated_owner, set()),
    "owner's key": (an_owners_key, {scope.value for scope in KEY_SCOPES}),
    "narrow key": (a_narrow_key, {"data:read"}),
    "key of a demoted owner": (
        a_key_of_a_demoted_owner,
        {scope.value for scope in ROLE_PERMISSIONS[Role.VIEWER]},
    ),
    "this device": (this_device, {A_DEVICE, THAT_DEVICE}),
    "this device as bearer": (this_device_as_bearer, {A_DEVICE, THAT_DEVICE}),
    "other device": (the_other_device, {A_DEVICE}),
    "wrong device": (a_wrong_device, set()),
}


def declared(app):
    """Return the routes, those open to everybody apart from the others."""
    table = [need for need in check_routes(app) if need.path not in OUTSIDE]
    is_open = [need for need in table if all(rule.startswith("public: ") for rule in need.rules)]
    return [need for need in table if need not in is_open], is_open


async def lets_in(desk, need, headers):
    """Whether a route let a credential in; what it then makes of an empty request is another matter."""
    path = need.path.format(
        uuid=THIS_DEVICE, user_id=uuid4(), session_id=uuid4(), key_id="0" * 12, name="nothing"
    )
    answer = await desk.client.request(need.method, path, headers=headers | desk.from_elsewhere())
    assert answer.status_code < 500
    code = answer.json().get("code", "") if "problem" in answer.headers.get("content-type", "") else ""
    return not code.startswith("auth.")


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_every_route_lets_in_whom_its_declaration_names_and_nobody_else(desk, credential):
    make_headers, met = CREDENTIALS[credential]
    guarded, _ = declared(desk.app)

    # A fresh one for each route: some of them end it.
    allowed = [str(need) for need in guarded if await lets_in(desk, need, await make_headers(desk))]

    assert allowed == [str(need) for need in guarded if set(need.rules) <= met]


async def test_open_routes_are_open_to_everybody_and_few(desk):
    _, is_open = declared(desk.app)

    assert [need for need in is_open if not await lets_in(desk, need, {})] == []
    assert {need.path for need in is_open if need.path.startswith(("/auth", "/users", "/api-keys"))} == {
        "/auth/register",
        "/auth/login",
        "/auth/refresh",
    }


async def test_a_device_is_never_let_in_for_another(desk):
    own = {"X-Device-API-Key": "key-of-this-device"}

    answers = [
        await desk.client.get(f"/device/{uuid}/state", headers=own)
        for uuid in (THIS_DEVICE, OTHER_DEVICE, uuid4())
    ]

    assert [answer.status_code for answer in answers] == [200, 403, 403]


def test_every_kind_of_need_is_met_by_some_credential():
    met = set(itertools.chain.from_iterable(needs for _, needs in CREDENTIALS.values()))

    assert met >= EVERY_PERMISSION | {A_PERSON, A_DEVICE, THAT_DEVICE}
