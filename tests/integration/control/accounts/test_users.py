"""Accounts, made and changed by people."""

import asyncio

import pytest
from account_builders import PASSWORD

from iotistic.control.access.model import Role

FRESH = "quite another long phrase"


async def create(desk, by, **asked):
    body = {"username": "new-one", "email": "new@example.net", "password": FRESH} | asked
    return await desk.client.post("/users", headers=by.headers, json=body)


async def change(desk, by, user, **values):
    return await desk.client.put(f"/users/{user.id}", headers=by.headers, json=values)


async def test_a_password_chosen_by_somebody_else_has_to_be_changed_before_anything(desk):
    admin = await desk.logged_in(Role.ADMIN)
    assert (await create(desk, admin, role="manager")).status_code == 201

    access = (await desk.login("new-one", FRESH)).json()["data"]["accessToken"]
    headers = {"Authorization": f"Bearer {access}"}
    before = await desk.client.get("/users", headers=headers)
    changed = await desk.client.post(
        "/auth/change-password",
        headers=headers,
        json={"currentPassword": FRESH, "newPassword": "the third phrase of many"},
    )
    after = await desk.client.get("/users", headers=headers)

    assert [before.status_code, changed.status_code, after.status_code] == [403, 200, 200]
    assert before.json()["code"] == "auth.password_change_needed"


async def test_a_new_account_is_a_viewer_unless_said_otherwise(desk):
    made = await create(desk, await desk.logged_in(Role.OWNER))

    assert made.json()["role"] == "viewer"
    assert "assword" not in str(made.json()).replace("mustChangePassword", "")


@pytest.mark.parametrize("other", [{"email": "b@example.net"}, {"username": "somebody-else"}])
async def test_a_name_or_address_that_differs_in_capitals_only_is_taken(desk, other):
    owner = await desk.logged_in(Role.OWNER)
    await create(desk, owner)

    again = await create(desk, owner, **{"username": "NEW-ONE", "email": "New@Example.net"} | other)

    assert [again.status_code, again.json()["code"]] == [409, "user.taken"]


@pytest.mark.parametrize(
    ("by", "role", "status"),
    [
        (Role.OWNER, "owner", 201),
        (Role.ADMIN, "owner", 403),
        (Role.ADMIN, "admin", 403),
        (Role.ADMIN, "manager", 201),
        (Role.MANAGER, "manager", 403),
        (Role.MANAGER, "operator", 201),
    ],
)
async def test_nobody_makes_an_account_of_ones_own_rank_but_owners(desk, by, role, status):
    assert (await create(desk, await desk.logged_in(by), role=role)).status_code == status


@pytest.mark.parametrize("values", [{"role": "viewer"}, {"isActive": False}, {"email": "x@example.net"}])
async def test_nobody_changes_an_account_of_ones_own_rank_or_above(desk, values):
    admin = await desk.logged_in(Role.ADMIN)
    others = [await desk.user(Role.ADMIN), await desk.user(Role.OWNER)]

    answers = [await change(desk, admin, other, **values) for other in others]

    assert [answer.json()["code"] for answer in answers] == ["user.role_too_high"] * 2


async def test_a_change_leaves_alone_what_it_does_not_name(desk):
    owner, user = await desk.logged_in(Role.OWNER), await desk.user(Role.MANAGER)

    changed = (await change(desk, owner, user, fullName="Grace")).json()

    assert (changed["fullName"], changed["role"], changed["email"]) == ("Grace", "manager", user.email)


@pytest.mark.parametrize(
    "garbage",
    [{"role": "emperor"}, {"role": None}, {"isActive": "perhaps"}, {"email": "a\0@b"}, {"other": 1}],
)
async def test_a_change_to_what_cannot_be_is_refused_by_field(desk, garbage):
    owner, user = await desk.logged_in(Role.OWNER), await desk.user()

    answer = await change(desk, owner, user, **garbage)

    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == [f"body.{next(iter(garbage))}"]


async def test_a_new_role_counts_from_the_next_request_on(desk):
    owner, someone = await desk.logged_in(Role.OWNER), await desk.logged_in(Role.ADMIN)

    await change(desk, owner, someone.user, role="viewer")

    assert (await create(desk, someone)).status_code == 403


async def test_the_sessions_of_a_deactivated_user_end_at_once(desk):
    owner, someone = await desk.logged_in(Role.OWNER), await desk.logged_in(Role.MANAGER)

    await change(desk, owner, someone.user, isActive=False)

    assert not await desk.is_in(someone.access)
    assert (await desk.refresh(someone.refresh)).status_code == 401
    assert (await desk.login(someone.user.username)).status_code == 401
    await change(desk, owner, someone.user, isActive=True)
    assert not await desk.is_in(someone.access)


async def test_a_removed_user_is_out(desk):
    owner, someone = await desk.logged_in(Role.OWNER), await desk.logged_in()

    answer = await desk.client.delete(f"/users/{someone.user.id}", headers=owner.headers)

    assert answer.status_code == 204
    assert not await desk.is_in(someone.access)


@pytest.mark.parametrize("values", [{"role": "viewer"}, {"isActive": False}])
async def test_nobody_takes_ones_own_role_or_account_away(desk, values):
    owner = await desk.logged_in(Role.OWNER)
    await desk.user(Role.OWNER)

    removed = await desk.client.delete(f"/users/{owner.user.id}", headers=owner.headers)

    assert (await change(desk, owner, owner.user, **values)).json()["code"] == "user.own_account"
    assert removed.json()["code"] == "user.own_account"


async def test_two_owners_who_remove_each_other_leave_one(desk):
    one, other = await desk.logged_in(Role.OWNER), await desk.logged_in(Role.OWNER)

    await asyncio.gather(
        change(desk, one, other.user, role="viewer"), change(desk, other, one.user, isActive=False)
    )

    assert await desk.pool.fetchval("SELECT count(*) FROM users WHERE role = 'owner' AND is_active") == 1


async def test_a_changed_password_ends_all_other_sessions(desk):
    someone = await desk.logged_in()
    elsewhere = await desk.logged_in(user=someone.user)

    answer = await desk.client.post(
        "/auth/change-password",
        headers=someone.headers,
        json={"currentPassword": PASSWORD, "newPassword": FRESH},
    )

    assert answer.status_code == 200
    assert [await desk.is_in(one.access) for one in (someone, elsewhere)] == [True, False]
    logins = [await desk.login(someone.user.username, password) for password in (PASSWORD, FRESH)]
    assert [login.status_code for login in logins] == [401, 200]


@pytest.mark.parametrize(
    ("current", "new", "code"),
    [
        ("not the current one", FRESH, "password.current_wrong"),
        (PASSWORD, "short", "password.refused"),
        (PASSWORD, "Password123!", "password.refused"),
    ],
)
async def test_a_password_is_changed_by_who_knows_it_to_one_that_is_hard_to_guess(desk, current, new, code):
    someone = await desk.logged_in()

    answer = await desk.client.post(
        "/auth/change-password",
        headers=someone.headers,
        json={"currentPassword": current, "newPassword": new},
    )

    assert answer.json()["code"] == code


async def test_an_owner_gives_somebody_a_new_password_that_is_good_once(desk):
    owner, someone = await desk.logged_in(Role.OWNER), await desk.logged_in(Role.ADMIN)

    given = await desk.client.post(f"/users/{someone.user.id}/reset-password", headers=owner.headers)

    assert not await desk.is_in(someone.access)
    login = await desk.login(someone.user.username, given.json()["password"])
    assert login.json()["data"]["user"]["mustChangePassword"]
    assert (await desk.login(someone.user.username)).status_code == 401


async def test_only_owners_reset_passwords(desk):
    admin, someone = await desk.logged_in(Role.ADMIN), await desk.logged_in(Role.VIEWER)

    answer = await desk.client.post(f"/users/{someone.user.id}/reset-password", headers=admin.headers)

    assert [answer.status_code, answer.json()["code"]] == [403, "user.owner_only"]


async def test_nobody_registers_by_themselves(desk):
    answer = await desk.client.post("/auth/register", json={"username": "x", "password": FRESH})

    assert [answer.status_code, answer.json()["code"]] == [403, "accounts.registration_closed"]


async def test_an_api_key_is_shown_once_and_holds_no_more_than_its_maker(desk):
    manager = await desk.logged_in(Role.MANAGER)

    async def make(*scopes):
        body = {"name": "script", "scopes": scopes}
        return await desk.client.post("/api-keys", headers=manager.headers, json=body)

    made = (await make("device:read")).json()
    refused = [await make("device:delete"), await make("user:write"), await make("api-key:create")]
    listed = (await desk.client.get("/api-keys", headers=manager.headers)).json()

    assert made["key"].startswith(f"iotk_{made['id']}_")
    assert [answer.json()["code"] for answer in refused] == ["api_key.scope_too_wide"] * 3
    assert [row["id"] for row in listed] == [made["id"]]
    assert made["key"] not in str(listed)


async def test_an_account_shows_neither_hashes_nor_credentials(desk):
    someone = await desk.logged_in(Role.OWNER)

    shown = (await desk.client.get("/auth/me", headers=someone.headers)).json()

    assert set(shown) == {
        "id",
        "username",
        "email",
        "fullName",
        "role",
        "isActive",
        "mustChangePassword",
        "createdAt",
        "updatedAt",
        "lastLoginAt",
    }
