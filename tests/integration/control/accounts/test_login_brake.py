"""Guessing is braked; who knows the password gets in, and everybody else goes on meanwhile."""

import asyncio
import time
from collections import Counter

import httpx2
import pytest
from account_builders import PASSWORD, Clock, account_settings

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import Role
from iotistic.control.accounts.brake import Brake, TooManyLogins
from iotistic.control.accounts.desk import AccountDesk
from iotistic.control.accounts.model import HashingBusy
from iotistic.control.accounts.passwords import Passwords
from iotistic.control.accounts.shared_counts import shared_counts
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.server import serve

HERE, ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "198.51.100.9"}


async def statuses(attempts):
    return Counter(answer.status_code for answer in await asyncio.gather(*attempts))


async def test_guessing_one_account_is_braked_for_the_guesser_alone(desk):
    user = await desk.user()

    guesses = await statuses([desk.login(user.username, f"guess {n}", headers=HERE) for n in range(20)])
    braked = await desk.login(user.username, headers=HERE)

    assert guesses == {401: 5, 429: 15}
    assert [braked.status_code, braked.json()["code"]] == [429, "login.braked"]
    assert 0 < int(braked.headers["Retry-After"]) <= 900
    assert (await desk.login(user.username, headers=ELSEWHERE)).status_code == 200


async def test_an_account_that_does_not_exist_is_braked_alike(desk):
    guesses = await statuses([desk.login("nobody-at-all", f"guess {n}", headers=HERE) for n in range(8)])

    assert guesses == {401: 5, 429: 3}


async def test_the_right_password_wipes_out_earlier_mistakes(desk):
    user = await desk.user()

    for _ in range(2):
        assert await statuses([desk.login(user.username, "wrong", headers=HERE) for _ in range(4)]) == {
            401: 4
        }
        assert (await desk.login(user.username, headers=HERE)).status_code == 200


async def test_trying_many_accounts_from_one_place_is_braked(desk):
    guesses = await statuses([desk.login(f"user-{n}", "a guess", headers=HERE) for n in range(40)])

    assert guesses == {401: 30, 429: 10}


async def test_many_places_together_are_braked_at_one_account():
    brake = Brake(account_settings(login_limit_everywhere=10))

    outcomes = await asyncio.gather(
        *(brake.attempt("ada", f"10.0.0.{n}") for n in range(14)), return_exceptions=True
    )

    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 10, TooManyLogins: 4}


async def test_a_forwarded_address_is_not_believed_from_a_stranger(pool):
    accounts = AccountDesk.of(pool, account_settings(), ClientAddresses(), clock=Clock())
    app = create_app(title="no proxy", version="0", description="under test")
    app.include_router(accounts.router())

    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
    ):
        body = {"username": "ada", "password": "a guess"}
        guesses = await statuses(
            [
                client.post("/auth/login", json=body, headers={"X-Forwarded-For": f"203.0.113.{n}"})
                for n in range(8)
            ]
        )
    accounts.close()

    assert guesses == {401: 5, 429: 3}


async def test_guessing_the_current_password_in_a_stolen_session_is_braked(desk):
    someone = await desk.logged_in()

    async def guess(number):
        body = {"currentPassword": f"guess {number}", "newPassword": "a phrase of the thief's"}
        return await desk.client.post("/auth/change-password", headers=someone.headers | HERE, json=body)

    assert await statuses([guess(number) for number in range(8)]) == {403: 5, 429: 3}


async def test_wrong_tokens_are_braked_and_right_ones_are_not(desk):
    someone = await desk.logged_in(Role.OWNER)
    wrong = {"Authorization": "Bearer iotk_000000000000_" + "A" * 43}

    guesses = await statuses([desk.client.get("/users", headers=wrong | HERE) for _ in range(30)])

    assert guesses == {401: 20, 429: 10}
    assert (await desk.client.get("/users", headers=someone.headers | HERE)).status_code == 200


async def test_processes_that_share_a_redis_count_together(redis):
    async with shared_counts(redis.settings()) as one, shared_counts(redis.settings()) as other:
        brakes = [Brake(account_settings(), counts) for counts in (one, other)]
        outcomes = await asyncio.gather(
            *(brake.attempt("ada", "192.0.2.7") for brake in brakes * 4), return_exceptions=True
        )

    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 5, TooManyLogins: 3}


async def test_a_redis_that_is_away_lets_nobody_guess_on():
    async with shared_counts(RedisSettings(redis_url="redis://127.0.0.1:1/0")) as away:
        brake = Brake(account_settings(), away)
        outcomes = await asyncio.gather(
            *(brake.attempt("ada", "192.0.2.7") for _ in range(8)), return_exceptions=True
        )

    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 5, TooManyLogins: 3}


async def test_other_requests_go_on_while_twenty_people_log_in(costly_desk):
    desk = costly_desk
    users = [await desk.user() for _ in range(20)]
    someone = await desk.logged_in()
    logins = asyncio.gather(*(desk.login(user.username) for user in users))

    waits: list[float] = []
    while not logins.done():
        started = time.perf_counter()
        assert await desk.is_in(someone.access)
        waits.append(time.perf_counter() - started)

    assert {answer.status_code for answer in await logins} == {200}
    assert len(waits) > 2 * len(users)
    assert sorted(waits)[len(waits) // 2] < 0.1


async def test_logins_past_the_queue_are_asked_to_come_back():
    passwords = Passwords(threads=1, queue=2)

    outcomes = await asyncio.gather(
        *(passwords.verify(PASSWORD, None) for _ in range(6)), return_exceptions=True
    )
    afterwards = await passwords.verify(PASSWORD, None)
    passwords.close()

    assert Counter(type(outcome) for outcome in outcomes) == {tuple: 3, HashingBusy: 3}
    assert afterwards == (False, None)


async def test_only_who_is_next_reads_ahead_while_a_password_is_hashed():
    passwords = Passwords(threads=1, queue=2)
    inside, counts = [], []

    async def log_in(number):
        async with passwords.turn():
            inside.append(number)
            counts.append(len(inside))
            await asyncio.sleep(0.01)
            inside.remove(number)

    outcomes = await asyncio.gather(*(log_in(number) for number in range(6)), return_exceptions=True)
    await log_in(6)
    passwords.close()

    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 3, HashingBusy: 3}
    assert max(counts) == 2


async def test_a_hash_takes_at_least_a_hundred_milliseconds_of_a_processor():
    passwords = Passwords(threads=1)
    before = time.process_time()
    await passwords.hash(PASSWORD)
    spent_s = time.process_time() - before
    passwords.close()

    assert spent_s >= 0.1


@pytest.mark.parametrize("known", ["", "plain", "$argon2id$v=19$m=1", "$2b$04$short", "$2b$99$" + "." * 53])
async def test_a_hash_that_is_none_lets_nobody_in(known):
    passwords = Passwords(rounds=1, memory_kib=64)

    assert await passwords.verify(PASSWORD, known) == (False, None)
    passwords.close()
