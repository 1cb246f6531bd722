"""Log in, refresh, log out."""

import asyncio
import time

import bcrypt
import pytest
from account_builders import PASSWORD

from iotistic.control.access.model import Role
from iotistic.control.accounts.passwords import Passwords


async def test_a_login_by_name_or_mail_address_in_any_case_opens_ones_account(desk):
    await desk.user(username="Ada.Lovelace")

    answers = [await desk.login(name) for name in ("ada.lovelace", "ADA.LOVELACE@example.net")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["data"]["user"]["username"] for answer in answers] == ["Ada.Lovelace"] * 2
    assert await desk.is_in(answers[0].json()["data"]["accessToken"])


async def test_a_refused_login_does_not_say_whether_the_account_exists(desk):
    await desk.user(username="known")
    closed = await desk.user(username="closed")
    old = bcrypt.hashpw(b"another password", bcrypt.gensalt(4, b"2a")).decode()
    await desk.user(username="old", password_hash=old)
    await desk.pool.execute("UPDATE users SET is_active = false WHERE id = $1", closed.id)

    async def timed(name, password):
        started = time.perf_counter()
        answer = await desk.login(name, password)
        return answer, time.perf_counter() - started

    refused = await asyncio.gather(
        timed("known", "a wrong password"),
        timed("unknown", "a wrong password"),
        timed("closed", PASSWORD),
        timed("old", "a wrong password"),
        timed("known", "x" * 1000),
    )

    assert {answer.status_code for answer, _ in refused} == {401}
    assert len({answer.text for answer, _ in refused}) == 1
    assert min(seconds for _, seconds in refused) >= 0.5


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
@pytest.mark.parametrize("password", [PASSWORD, "ä long one " * 10])
async def test_a_bcrypt_hash_of_an_old_account_is_replaced_at_login(desk, prefix, password):
    old = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4, prefix)).decode()
    user = await desk.user(password_hash=old)

    first = await desk.login(user.username, password)
    kept = await desk.pool.fetchval("SELECT password_hash FROM users WHERE id = $1", user.id)
    second = await desk.login(user.username, password)
    wrong = await desk.login(user.username, password + "!")

    assert [first.status_code, second.status_code, wrong.status_code] == [200, 200, 401]
    assert kept.startswith("$argon2id$")


async def test_a_cheap_hash_is_replaced_by_a_dear_one_at_login(costly_desk):
    desk = costly_desk
    user = await desk.user()

    await desk.login(user.username)

    kept = await desk.pool.fetchval("SELECT password_hash FROM users WHERE id = $1", user.id)
    assert kept.startswith("$argon2id$v=19$m=65536,t=4,p=1$")


@pytest.mark.parametrize(
    "change",
    ["is_active = false", "password_hash = '$argon2id$another'"],
    ids=["account closed", "password changed"],
)
async def test_what_happens_to_an_account_while_its_password_is_compared_counts(desk, monkeypatch, change):
    user = await desk.user()
    verify = Passwords.verify

    async def verify_and_change(self, password, known):
        answer = await verify(self, password, known)
        await desk.pool.execute(f"UPDATE users SET {change} WHERE id = $1", user.id)
        return answer

    monkeypatch.setattr(Passwords, "verify", verify_and_change)
    answer = await desk.login(user.username)

    assert answer.status_code == 401
    assert await desk.pool.fetchval("SELECT last_login_at FROM users WHERE id = $1", user.id) is None
    assert not await desk.pool.fetchval("SELECT count(*) FROM user_sessions WHERE user_id = $1", user.id)


async def test_a_refresh_gives_new_tokens_and_uses_the_old_one_up(desk):
    someone = await desk.logged_in()

    first = (await desk.refresh(someone.refresh)).json()["data"]
    second = await desk.refresh(first["refreshToken"])

    assert second.status_code == 200
    assert len({someone.refresh, first["refreshToken"], second.json()["data"]["refreshToken"]}) == 3
    assert await desk.is_in(second.json()["data"]["accessToken"])


async def test_a_refresh_token_that_comes_back_ends_its_session_and_no_other(desk):
    someone = await desk.logged_in()
    elsewhere = await desk.logged_in(user=someone.user)
    newest = (await desk.refresh(someone.refresh)).json()["data"]
    desk.clock.forward(seconds=11)

    stolen = await desk.refresh(someone.refresh)
    after = await desk.refresh(newest["refreshToken"])

    assert [stolen.status_code, after.status_code] == [401, 401]
    assert stolen.json()["code"] == "session.refresh_refused"
    assert not await desk.is_in(newest["accessToken"])
    assert await desk.is_in(elsewhere.access)
    reason = await desk.pool.fetchval(
        "SELECT ended_reason FROM user_sessions WHERE id = $1", someone.session_id
    )
    assert reason == "reuse"


async def test_of_refreshes_at_the_same_moment_one_succeeds_and_the_session_goes_on(desk):
    someone = await desk.logged_in()

    answers = await asyncio.gather(*(desk.refresh(someone.refresh) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    won = next(answer for answer in answers if answer.status_code == 200).json()["data"]
    assert (await desk.refresh(won["refreshToken"])).status_code == 200


@pytest.mark.parametrize(
    "change", [lambda token: token[:-1] + "Z", lambda token: token + "A", lambda _: "", lambda _: "iotr_0_0"]
)
async def test_a_refresh_token_that_was_never_given_is_refused(desk, change):
    someone = await desk.logged_in()

    assert (await desk.refresh(change(someone.refresh.rstrip("Z") + "Q"))).status_code == 401
    assert (await desk.refresh(someone.refresh)).status_code == 200


async def test_a_session_that_is_not_refreshed_ends(desk):
    someone = await desk.logged_in()
    desk.clock.forward(days=7, seconds=1)

    assert (await desk.refresh(someone.refresh)).status_code == 401


async def test_logging_out_of_one_session_leaves_the_others(desk):
    someone = await desk.logged_in()
    elsewhere = await desk.logged_in(user=someone.user)

    answer = await desk.client.post("/auth/logout", headers=someone.headers)

    assert answer.status_code == 200
    assert (await desk.refresh(someone.refresh)).status_code == 401
    assert not await desk.is_in(someone.access)
    assert await desk.is_in(elsewhere.access)
    assert (await desk.refresh(elsewhere.refresh)).status_code == 200


async def test_a_refresh_token_names_the_session_that_is_logged_out(desk):
    someone, stranger = await desk.logged_in(), await desk.logged_in()
    elsewhere = await desk.logged_in(user=someone.user)

    async def log_out(token):
        body = {"refreshToken": token}
        return (await desk.client.post("/auth/logout", headers=someone.headers, json=body)).status_code

    assert [await log_out(elsewhere.refresh), await log_out(stranger.refresh)] == [200, 404]
    assert not await desk.is_in(elsewhere.access)
    assert await desk.is_in(someone.access)
    assert await desk.is_in(stranger.access)


async def test_logging_out_of_all_sessions_ends_ones_own(desk):
    someone, stranger = await desk.logged_in(), await desk.logged_in()
    elsewhere = await desk.logged_in(user=someone.user)

    await desk.client.post("/auth/logout-all", headers=someone.headers)

    assert [await desk.is_in(one.access) for one in (someone, elsewhere, stranger)] == [False, False, True]


async def test_sessions_are_listed_and_ended_by_their_user_only(desk):
    someone, stranger = await desk.logged_in(), await desk.logged_in()
    elsewhere = await desk.logged_in(user=someone.user)

    listed = (await desk.client.get("/auth/sessions", headers=someone.headers)).json()
    ended = [
        (await desk.client.delete(f"/auth/sessions/{one.session_id}", headers=someone.headers)).status_code
        for one in (elsewhere, stranger)
    ]

    assert {row["id"]: row["isThis"] for row in listed} == {
        str(someone.session_id): True,
        str(elsewhere.session_id): False,
    }
    assert ended == [204, 404]
    assert await desk.is_in(stranger.access)


async def test_sessions_long_over_are_forgotten(desk):
    someone, still_in = await desk.logged_in(), await desk.logged_in(Role.OWNER)
    await desk.client.post("/auth/logout", headers=someone.headers)
    desk.clock.forward(days=6)
    current = (await desk.refresh(still_in.refresh)).json()["data"]
    await desk.pool.execute("UPDATE user_sessions SET expires_at = expires_at + interval '60 days'")
    desk.clock.forward(days=25)

    assert await desk.accounts.sessions.forget_ended() == 1
    assert (await desk.refresh(current["refreshToken"])).status_code == 200


async def test_no_secret_stands_in_the_database(desk):
    user = await desk.user()
    tokens = (await desk.login(user.username)).json()["data"]

    rows = [
        str(row)
        for table in ("users", "user_sessions", "refresh_tokens", "api_keys")
        for row in await desk.pool.fetch(f"SELECT * FROM {table}")
    ]

    assert [row for row in rows if tokens["refreshToken"] in row or PASSWORD in row] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"username": "ada"}',
        b'{"username": null, "password": "x"}',
        b'{"username": ["ada"], "password": {"$ne": 1}}',
        b'{"username": "a\\u0000da", "password": "x"}',
        b'{"username": "\\ud800", "password": "x"}',
        b'{"username": "ada", "password": ""}',
        b"\xff\xfe",
    ],
)
async def test_a_login_that_is_garbage_is_refused(desk, body):
    answer = await desk.client.post("/auth/login", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["code"] == "request.invalid"


async def test_tokens_that_are_over_do_not_count_as_guesses(desk):
    someone, other = await desk.logged_in(), await desk.logged_in()
    await desk.accounts.sessions.logout(other.principal)
    here = {"X-Forwarded-For": "192.0.2.7"}
    ended = [await desk.client.get("/users", headers=other.headers | here) for _ in range(25)]
    desk.clock.forward(minutes=16)
    expired = [await desk.client.get("/users", headers=someone.headers | here) for _ in range(25)]

    assert {(answer.status_code, answer.json()["code"]) for answer in ended + expired} == {
        (401, "auth.session_over")
    }
