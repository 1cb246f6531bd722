"""The licence of an installation on a real database: only what the seller signed counts, at each load."""

import asyncio
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from licence_builders import licence, public_pem, seller_key
from pydantic import SecretStr

from iotistic.control.licences.model import (
    Feature,
    FeatureMissing,
    LicenceEnded,
    LicenceInvalid,
    Limit,
    PlanLimit,
    Standing,
)
from iotistic.control.licences.refreshing import Refresher, SellerAway, SellerMissing
from iotistic.control.licences.service import LicenceService
from iotistic.control.licences.settings import LicenceSettings
from iotistic.entrypoints.control.operator import OPERATOR
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.server import serve

ESCAPED = public_pem().replace("\n", "\\n")


def service(pool, **settings):
    given = {"license_public_key": ESCAPED, "billing_upgrade_url": "https://shop.example/up", **settings}
    return LicenceService(pool, LicenceSettings(**given))


async def test_without_a_sellers_key_nothing_is_limited(pool):
    free = LicenceService(pool, LicenceSettings(license_public_key=""))

    assert (await free.current()).standing is Standing.OPEN
    assert await free.device_limit() < 0
    await free.require(Feature.SCHEDULE_JOBS)
    await free.require_room(Limit.USERS)


async def test_a_licence_of_the_environment_is_in_force_until_one_is_installed(pool):
    given = service(pool, iotistic_license_key=SecretStr(licence(maxDevices=7)))
    assert await given.device_limit() == 7

    await given.install(licence(maxDevices=9), by=OPERATOR)

    assert await given.device_limit() == 9
    assert await service(pool, iotistic_license_key=SecretStr(licence(maxDevices=7))).device_limit() == 9


def unsigned():
    return jwt.encode(jwt.decode(licence(), options={"verify_signature": False}), None, algorithm="none")


def signed_with_the_public_key():
    claims = jwt.decode(licence(), options={"verify_signature": False})
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}') + b"."
    import hashlib
    import hmac
    import json

    body = head + jwt.utils.base64url_encode(json.dumps(claims).encode())
    mark = hmac.new(public_pem().encode(), body, hashlib.sha256).digest()
    return (body + b"." + jwt.utils.base64url_encode(mark)).decode()


@pytest.mark.parametrize(
    "forge",
    [
        lambda: licence(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        unsigned,
        signed_with_the_public_key,
        lambda: licence(algorithm="RS512"),
        lambda: licence()[:-6] + "AAAAAA",
        lambda: "garbage",
        lambda: "x" * 20_000,
        lambda: "",
    ],
)
async def test_what_the_seller_did_not_sign_is_refused(pool, forge):
    with pytest.raises(LicenceInvalid):
        await service(pool).install(forge(), by=OPERATOR)

    assert (await service(pool).current()).standing is Standing.UNLICENSED


async def test_one_that_has_ended_is_not_installed(pool):
    with pytest.raises(LicenceEnded):
        await service(pool).install(licence(days=-1), by=OPERATOR)


async def test_a_row_that_was_changed_by_hand_allows_nothing(pool):
    await service(pool).install(licence(), by=OPERATOR)
    await pool.execute(
        "UPDATE licence_token SET token = overlay(token placing 'AAAA' from length(token) - 9)"
    )

    assert (await service(pool).current()).standing is Standing.UNLICENSED


async def test_the_end_of_a_licence_is_noticed_without_a_restart(pool):
    clock = [datetime.now(UTC)]
    given = LicenceService(pool, LicenceSettings(license_public_key=ESCAPED), clock=lambda: clock[0])
    await given.install(licence(canExecuteJobs=True), by=OPERATOR)
    await given.require(Feature.EXECUTE_JOBS)

    clock[0] += timedelta(days=366)

    with pytest.raises(FeatureMissing) as caught:
        await given.require(Feature.EXECUTE_JOBS)
    assert "has ended" in caught.value.message


async def test_a_limit_says_how_many_there_are_and_where_to_get_more(pool):
    given = service(pool)
    await given.install(licence(limits={"maxUsers": 1}), by=OPERATOR)
    await given.require_room(Limit.USERS)
    await pool.execute(
        "INSERT INTO users (username, email, role, password_hash, created_at, updated_at) "
        "SELECT 'u' || n, 'u' || n || '@x.example', 'viewer', $1, now(), now() FROM generate_series(1, 1) n",
        "$argon2id$" + "x" * 60,
    )

    with pytest.raises(PlanLimit) as caught:
        await given.require_room(Limit.USERS)
    assert caught.value.fields == {
        "limit": "maxUsers",
        "most": 1,
        "present": 1,
        "upgradeUrl": "https://shop.example/up",
    }


async def test_every_limit_can_be_counted(pool):
    given = service(pool)
    await asyncio.gather(*(given.require_room(limit) for limit in Limit))


@pytest.fixture
async def seller(pool):
    app = create_app(title="seller", version="0", description="stands for the billing service")
    app.state.answer = {}

    @app.get("/api/licenses/{customer}")
    async def give(customer: str) -> dict[str, object]:
        return app.state.answer

    async with await serve(app, host="127.0.0.1", port=0) as server:
        app.state.url = f"http://127.0.0.1:{server.port}"
        yield app


@pytest.mark.parametrize("shape", ["jwt", "license", "data"])
async def test_the_seller_is_asked_for_the_licence_in_force(pool, seller, shape):
    given = service(pool, billing_api_url=seller.state.url)
    await given.install(licence(maxDevices=10), by=OPERATOR)
    fresh = licence(maxDevices=20)
    seller.state.answer = {"jwt": fresh} if shape == "jwt" else {shape: {"jwt": fresh}}

    await Refresher(given, LicenceSettings(billing_api_url=seller.state.url)).refresh()

    assert await given.device_limit() == 20


@pytest.mark.parametrize("answer", [{}, {"jwt": 7}, {"jwt": None}, {"data": []}])
async def test_an_answer_without_a_licence_changes_nothing(pool, seller, answer):
    given = service(pool, billing_api_url=seller.state.url)
    await given.install(licence(maxDevices=10), by=OPERATOR)
    seller.state.answer = answer

    with pytest.raises(SellerAway):
        await Refresher(given, LicenceSettings(billing_api_url=seller.state.url)).refresh()
    assert await given.device_limit() == 10


async def test_where_nobody_sells_nobody_is_asked(pool):
    with pytest.raises(SellerMissing):
        await Refresher(service(pool), LicenceSettings()).refresh()


def test_the_key_of_the_tests_is_one():
    assert seller_key().key_size == 2048
