"""Every route, without and with the wrong credential, in every mode, over real sockets."""

import asyncio

import aiohttp
import pytest
from device_rig import DeviceRig

from iotistic.agent.local_api.access import Mode, Policy
from iotistic.agent.local_api.app import WITHOUT_KEY, make_app

WRONG = {"Authorization": "Bearer dev_wrong"}
ASKING = [Policy(Mode.LOCALHOST_ONLY, asks_for_key=True), Policy(Mode.LOCAL_NETWORK), Policy(Mode.API_KEY)]


def routes(rig):
    """Every route with something that exists in the places of its names."""
    found = []
    for route in make_app(rig._parts(), rig.key, rig.policy).router.routes():
        info = route.resource.get_info()
        path = info.get("path") or info["formatter"].format_map(
            {"app": "7", "service": "web", "id": "1", "name": "LOG_LEVEL", "verb": verb_of(info)}
        )
        found.append((route.method, path))
    return [(method, path) for method, path in found if method != "HEAD"]


def verb_of(info):
    pattern = info.get("pattern").pattern if "pattern" in info else ""
    return "stop-service" if "stop-service" in pattern else "stop"


async def statuses(rig, headers):
    found = {}
    for method, path in routes(rig):
        answer = await rig.ask(method, path, headers=headers)
        found[method, path] = answer.status
    return found


def touched(rig):
    return rig.host.asked, rig.fleet.request, rig.statuses(), rig.config.local, dict(rig.operations.wishes)


@pytest.fixture(params=ASKING, ids=lambda policy: str(policy.mode))
async def guarded(request, tmp_path):
    async with DeviceRig(tmp_path, policy=request.param).running() as rig:
        await rig.settled()
        yield rig


async def test_every_route_but_the_ping_needs_the_key(guarded):
    before = touched(guarded)
    found = await statuses(guarded, {})

    assert len(found) > 40
    assert {path for (_, path), status in found.items() if status != 401} == set(WITHOUT_KEY)
    assert touched(guarded) == before


@pytest.mark.parametrize("headers", [WRONG, {"X-API-Key": "wrong"}, {"Authorization": "Basic d3Jvbmc="}])
async def test_every_route_refuses_a_wrong_key_and_in_the_end_does_not_look_at_it(guarded, headers):
    before = touched(guarded)
    found = list((await statuses(guarded, headers)).values())

    assert found[:10] == [401] * 10
    assert set(found[10:]) == {429}
    assert touched(guarded) == before


async def test_a_wrong_key_is_refused_where_none_is_needed_and_locks_nobody_out(tmp_path):
    async with DeviceRig(tmp_path).running() as rig:
        await rig.settled()
        found = set((await statuses(rig, WRONG)).values())
        right = await rig.ask("GET", "/v1/device", headers={"X-API-Key": rig.key.text})

    assert found == {401}
    assert right.status == 200


async def test_the_key_in_the_address_is_no_key(guarded):
    answer = await guarded.ask("GET", f"/v1/device?apikey={guarded.key.text}&key={guarded.key.text}")

    assert answer.status == 401


async def test_the_right_key_opens_and_a_key_that_was_replaced_does_not(guarded):
    old = {"Authorization": f"Bearer {guarded.key.text}"}
    assert (await guarded.ask("GET", "/v1/device", headers=old)).status == 200
    await guarded.key.renew()

    assert (await guarded.ask("GET", "/v1/device", headers=old)).status == 401
    new = {"X-API-Key": guarded.key.text}
    assert (await guarded.ask("GET", "/v1/device", headers=new)).status == 200


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "https://evil.example"}, "device_api.origin_refused"),
        ({"Sec-Fetch-Site": "cross-site"}, "device_api.origin_refused"),
    ],
)
async def test_no_route_answers_a_page_of_another_origin(tmp_path, mode, headers, code):
    async with DeviceRig(tmp_path, policy=Policy(mode)).running() as rig:
        await rig.settled()
        before = touched(rig)
        sent = {**headers, "Authorization": f"Bearer {rig.key.text}"}
        found = await statuses(rig, sent)
        refused = await rig.ask("POST", "/v1/apps/7/stop", headers=sent)

    assert set(found.values()) == {403}
    assert refused.body["code"] == code
    assert touched(rig) == before


async def test_no_route_answers_to_a_name_that_was_bound_anew(tmp_path):
    async with DeviceRig(tmp_path).running() as rig:
        await rig.settled()
        found = await statuses(rig, {"Host": "evil.example"})

    assert set(found.values()) == {403}


async def test_localhost_only_listens_nowhere_else(tmp_path):
    async with DeviceRig(tmp_path).running() as rig:
        hosts = {host for host, _ in rig.api.addresses}
    async with DeviceRig(tmp_path, policy=Policy(Mode.API_KEY)).running() as rig:
        wide = {host for host, _ in rig.api.addresses}

    assert hosts <= {"127.0.0.1", "::1"}
    assert wide <= {"0.0.0.0", "::"}


async def test_an_open_device_needs_no_key_and_warns(tmp_path, capsys):
    async with DeviceRig(tmp_path, policy=Policy(Mode.OPEN)).running() as rig:
        await rig.settled()
        assert (await rig.ask("GET", "/v1/device")).status == 200

    assert "device_api.open" in capsys.readouterr().out


async def test_wrong_keys_at_once_are_counted_all(tmp_path):
    async with (
        DeviceRig(tmp_path, policy=Policy(Mode.API_KEY)).running() as rig,
        aiohttp.ClientSession() as session,
    ):

        async def attempt(number):
            headers = {"Authorization": f"Bearer {number}"}
            async with session.get(rig.url + "/v1/device", headers=headers) as response:
                return response.status

        found = await asyncio.gather(*(attempt(number) for number in range(50)))

    assert found.count(401) == 10
    assert found.count(429) == 40
