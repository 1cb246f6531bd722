"""The registry of applications, over HTTP on a real PostgreSQL."""

import json

import pytest
from target_desk import served

NAN = float("nan")
DEFAULTS = {"services": [{"serviceName": "web", "image": "web:1"}], "rollingUpdate": True}


@pytest.fixture
async def desk(pool):
    async with served(pool) as desk:
        yield desk


async def test_an_application_is_kept_changed_listed_and_removed(desk):
    made = (
        await desk.ask("POST", "/applications", {"appName": "Web Shop", "defaultConfig": DEFAULTS})
    ).json()
    path = f"/applications/{made['appId']}"
    changed = (await desk.ask("PATCH", path, {"description": "sells"})).json()
    other = (await desk.ask("POST", "/applications", {"appName": "x", "appId": 7})).json()
    first = (await desk.ask("GET", "/applications", limit=1)).json()
    rest = (await desk.ask("GET", "/applications", after=first["nextAfter"])).json()
    removed = await desk.ask("DELETE", path)

    assert (made["slug"], made["defaultConfig"]) == ("web-shop", DEFAULTS)
    assert made["appId"] >= 1000
    assert (changed["description"], changed["appName"], changed["slug"]) == ("sells", "Web Shop", "web-shop")
    assert [one["appId"] for one in first["items"] + rest["items"]] == [7, made["appId"]]
    assert (other["appId"], rest["nextAfter"], removed.status_code) == (7, None, 204)
    assert code_of_plain(await desk.ask("GET", path)) == (404, "application.unknown")
    assert await desk.done() == [
        "application.created",
        "application.changed",
        "application.created",
        "application.removed",
    ]


async def test_a_device_begins_with_what_the_application_says(desk):
    await desk.ask("POST", "/applications", {"appName": "Shop", "appId": 7, "defaultConfig": DEFAULTS})
    device = await desk.device()
    app = (await desk.ask("POST", f"/devices/{device.uuid}/apps", {"appId": 7})).json()["app"]

    assert (app["appName"], app["rollingUpdate"]) == ("shop", True)
    assert app["services"][0]["serviceId"] >= 1000


@pytest.mark.parametrize("deploy", [True, False])
async def test_an_application_stays_while_a_device_has_it_or_is_to_have_it(desk, deploy):
    await desk.ask("POST", "/applications", {"appName": "Shop", "appId": 7, "defaultConfig": DEFAULTS})
    device, other = await desk.device(), await desk.device()
    # A target that speaks of "7" without having the app, with what jsonb does not take.
    await desk.cloud.states.set_target(other.uuid, {"apps": {}, "config": {"7": "\0"}}, by="test")
    await desk.ask("POST", f"/devices/{device.uuid}/apps", {"appId": 7}, deploy=deploy)
    refused = await desk.ask("DELETE", "/applications/7")
    await desk.ask("DELETE", f"/devices/{device.uuid}/apps/7", deploy=True)
    removed = await desk.ask("DELETE", "/applications/7")

    assert code_of_plain(refused) == (409, "application.deployed")
    assert refused.json()["fields"]["devices"] == [device.uuid]
    assert removed.status_code == 204


async def test_numbers_are_given_once_and_none_that_an_application_has(desk):
    taken = (await desk.ask("POST", "/apps/next-id", {"appName": "x"})).json()["appId"] + 1
    await desk.ask("POST", "/applications", {"appName": "y", "appId": taken})
    after = (await desk.ask("POST", "/apps/next-id")).json()["appId"]
    services = [(await desk.ask("POST", "/services/next-id")).json()["serviceId"] for _ in range(3)]

    assert after == taken + 1
    assert services == sorted(set(services))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"appName": ""},
        {"appName": "x", "appId": 0},
        {"appName": "x", "slug": "A b"},
        {"appName": "???"},
        {"appName": "x", "defaultConfig": []},
        {"appName": "x", "defaultConfig": {"services": 3}},
        {"appName": "x", "defaultConfig": {"services": [3]}},
        {"appName": "x", "defaultConfig": {"services": [{"serviceName": "w"}]}},
        {"appName": "x", "defaultConfig": {"unknown": None}},
        {"appName": "x", "defaultConfig": {"appId": 9}},
        {
            "appName": "x",
            "defaultConfig": {"services": [{"serviceName": "w", "image": "x", "labels": {"a": NAN}}]},
        },
        {"appName": "x", "defaultConfig": {"services": [{"serviceName": "w", "image": "x" * 2**20}]}},
    ],
)
async def test_garbage_is_refused(desk, body):
    content = json.dumps(body).encode()
    headers = {"Authorization": "Bearer owner", "Content-Type": "application/json"}
    refused = await desk.cloud.client.post("/applications", content=content, headers=headers)

    assert 400 <= refused.status_code < 500, refused.text
    assert (await desk.ask("GET", "/applications")).json()["items"] == []


async def test_a_number_or_slug_is_had_once(desk):
    await desk.ask("POST", "/applications", {"appName": "shop", "appId": 7})
    await desk.ask("POST", "/applications", {"appName": "other", "appId": 8})

    for body in ({"appName": "x", "appId": 7}, {"appName": "Shop"}):
        assert code_of_plain(await desk.ask("POST", "/applications", body)) == (409, "application.exists")
    assert code_of_plain(await desk.ask("PATCH", "/applications/8", {"slug": "shop"})) == (
        409,
        "application.exists",
    )
    assert (await desk.ask("POST", "/applications", {"appName": "x"}, role="operator")).status_code == 403


def code_of_plain(answer):
    return answer.status_code, answer.json()["code"]
