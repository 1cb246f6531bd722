"""Rollouts over HTTP."""

from uuid import uuid4

import httpx2
import pytest
from rollout_builders import TO_TWO

from iotistic.control.access.routing import check_routes
from iotistic.kernel.web.server import serve

READ, WRITE, CONTROL = "device:read", "device:write", "device:control"
MANY = f"{READ},{WRITE},{CONTROL}"


@pytest.fixture
async def client(site):
    app = site.app()
    check_routes(app)
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(
            verify=False, base_url=f"http://127.0.0.1:{server.port}/api/v1", timeout=30
        ) as opened,
    ):
        yield opened


def holding(permissions):
    return {"Authorization": f"Bearer {permissions}"}


def asked(devices, **more):
    return {"change": TO_TWO, "selection": {"devices": [str(one.uuid) for one in devices]}, **more}


async def test_a_preview_answers_for_each_device_with_shared_plans(site, client):
    devices = await site.fleet(3)

    answer = await client.post("/rollouts/preview", json=asked(devices), headers=holding(READ))

    found = answer.json()
    assert found["counts"] == {"ready": 3}
    assert len(found["plans"]) == 1
    plan = found["plans"][found["devices"][0]["plan"]]
    assert [one["step"] for one in plan["steps"]][:4] == ["fetch", "takeLock", "kill", "start"]
    assert plan["bytesToFetch"] is None


async def test_a_rollout_is_made_followed_and_paged_through(site, client):
    devices = await site.fleet(5)
    policy = {"waves": [100], "watchS": 0}
    made = await client.post(
        "/rollouts", json=asked(devices, name="two", policy=policy), headers=holding(WRITE)
    )
    rollout = made.json()["id"]
    await site.turn(devices, times=3)

    shown = (await client.get(f"/rollouts/{rollout}", headers=holding(READ))).json()
    first = (await client.get(f"/rollouts/{rollout}/parts?limit=3", headers=holding(READ))).json()
    query = f"limit=3&cursor={first['nextCursor']}&state=succeeded"
    rest = (await client.get(f"/rollouts/{rollout}/parts?{query}", headers=holding(READ))).json()
    events = (await client.get(f"/rollouts/{rollout}/events?limit=1", headers=holding(READ))).json()

    assert made.status_code == 201
    assert (shown["state"], shown["counts"]) == ("completed", {"succeeded": 5})
    assert [len(first["items"]), len(rest["items"]), rest["nextCursor"]] == [3, 2, None]
    assert [one["kind"] for one in events["items"]] == ["rollout.created"]


async def test_rollouts_are_listed_the_newest_first_by_pages(site, client):
    devices = await site.fleet(3)
    made = [await site.make([one]) for one in devices]

    first = (await client.get("/rollouts?limit=2", headers=holding(READ))).json()
    rest = (await client.get(f"/rollouts?limit=2&cursor={first['nextCursor']}", headers=holding(READ))).json()

    listed = [one["id"] for one in (*first["items"], *rest["items"])]
    assert listed == [str(one.id) for one in reversed(made)]
    assert rest["nextCursor"] is None


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/rollouts/preview", READ),
        ("POST", "/rollouts", WRITE),
        ("GET", "/rollouts", READ),
        ("GET", "/rollouts/{id}", READ),
        ("GET", "/rollouts/{id}/parts", READ),
        ("GET", "/rollouts/{id}/events", READ),
        ("POST", "/rollouts/{id}/pause", CONTROL),
        ("POST", "/rollouts/{id}/resume", WRITE),
        ("POST", "/rollouts/{id}/cancel", CONTROL),
        ("POST", "/rollouts/{id}/rollback", CONTROL),
    ],
)
async def test_every_route_needs_what_it_says_and_knows_no_other_rollout(client, method, path, needed):
    url = path.format(id=uuid4())
    others = MANY.replace(needed, "data:read")
    body = {"change": TO_TWO, "selection": {"fleet": "nowhere"}, "name": "x"}
    body = body if path == "/rollouts" else {name: body[name] for name in ("change", "selection")}

    nobody = await client.request(method, url)
    other = await client.request(method, url, json=body, headers=holding(others))
    right = await client.request(method, url, json=body, headers=holding(needed))

    assert nobody.status_code == 401
    assert (other.status_code, other.json()["code"]) == (403, "auth.permission_missing")
    expected = {"/rollouts/preview": "rollout.nobody_selected", "/rollouts": "rollout.nobody_selected"}
    codes = {"GET /rollouts": None}
    code = codes.get(f"{method} {path}", expected.get(path, "rollout.unknown"))
    assert right.json().get("code") == code


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"change": {"kind": "shell"}, "selection": {"all": True}},
        {"change": TO_TWO, "selection": {}},
        {"change": TO_TWO, "selection": {"all": True, "fleet": "x"}},
        {"change": TO_TWO, "selection": {"filter": {"sql": "1=1"}}},
        {"change": {**TO_TWO, "image": "web:2; rm -rf /"}, "selection": {"all": True}},
        {"change": TO_TWO, "selection": {"fleet": "a\u0000b"}},
    ],
)
async def test_what_cannot_be_understood_is_refused_and_named(client, body):
    answer = await client.post("/rollouts/preview", json=body, headers=holding(READ))

    assert answer.status_code == 422
    assert answer.json()["code"] == "request.invalid"


async def test_quotes_in_a_selection_select_nobody_and_change_nothing(site, client):
    await site.fleet(2)
    selection = {"fleet": "x' OR '1'='1", "filter": {"nameContains": "'; DROP TABLE rollouts; --"}}

    answer = await client.post(
        "/rollouts/preview", json={"change": TO_TWO, "selection": selection}, headers=holding(READ)
    )

    assert answer.json()["code"] == "rollout.nobody_selected"
    assert await site.pool.fetchval("SELECT count(*) FROM rollouts") == 0


async def test_tags_are_refused_where_nobody_knows_them(client):
    body = {"change": TO_TWO, "selection": {"tags": {"line": "3"}}}

    answer = await client.post("/rollouts/preview", json=body, headers=holding(READ))

    assert (answer.status_code, answer.json()["code"]) == (503, "rollout.tags_unavailable")


async def test_a_rollout_that_is_over_is_not_paused(site, client):
    devices = await site.fleet(1)
    rollout = await site.make(devices)
    await site.turn(devices, times=3)

    answer = await client.post(f"/rollouts/{rollout.id}/pause", headers=holding(CONTROL))

    assert (answer.status_code, answer.json()["code"]) == (409, "rollout.wrong_state")


async def test_a_filter_finds_devices_by_the_image_that_they_run(site, client):
    await site.fleet(2)
    other = await site.device(image="web:7")
    body = {"change": TO_TWO, "selection": {"filter": {"runsImage": "web:7"}}}

    answer = await client.post("/rollouts/preview", json=body, headers=holding(READ))

    assert [one["uuid"] for one in answer.json()["devices"]] == [str(other.uuid)]
