"""Apps of a device, one at a time, over HTTP on a real PostgreSQL."""

import asyncio

import pytest
from device_cloud import code_of
from target_desk import WRITER, served

from iotistic.control.access.routing import check_routes
from iotistic.planning.target import read_target

WEB = {"serviceName": "web", "image": "web:1", "ports": ["8080:80"], "environment": {"COLOUR": "blue"}}
DB = {"serviceName": "db", "imageName": "db:1"}
SHOP = {"appId": 7, "appName": "shop", "services": [WEB, DB]}


@pytest.fixture
async def desk(pool):
    async with served(pool) as desk:
        yield desk


@pytest.fixture
async def device(desk):
    return await desk.device()


@pytest.fixture
def apps(desk, device):
    """Ask about the device's apps."""

    async def ask(method, path="", body=None, **params):
        return await desk.ask(method, f"/devices/{device.uuid}/apps{path}", body, **params)

    return ask


async def told(device):
    answer = await device.poll()
    return answer.json()[device.uuid]


def states(app):
    return {one["serviceName"]: one.get("state", "running") for one in app["services"]}


def ids(app):
    return {one["serviceName"]: one["serviceId"] for one in app["services"]}


async def test_an_app_gets_numbers_for_its_services_and_reaches_the_device_when_deployed(apps, device, desk):
    added = (await apps("POST", "", SHOP)).json()
    before = await told(device)
    deployed = (await apps("POST", "/7/deploy")).json()
    after = await told(device)

    assert added["needsDeployment"]
    assert (added["inForce"], added["version"], before["apps"]) == (None, 1, {})
    assert len(set(ids(added["app"]).values())) == 2
    assert min(ids(added["app"]).values()) >= 1000
    assert (deployed["version"], deployed["needsDeployment"]) == (2, False)
    assert after["apps"]["7"] == deployed["inForce"] == added["app"]
    assert read_target(after).faults == []
    assert after["apps"]["7"]["services"][0]["config"] == {
        "image": "web:1",
        "ports": ["8080:80"],
        "environment": {"COLOUR": "blue"},
    }
    assert await desk.done() == ["app.added", "target.deployed", "app.deployed"]


async def test_an_app_without_a_number_gets_the_next(apps):
    first = (await apps("POST", "", {"services": []})).json()
    second = (await apps("POST", "", {"services": []})).json()

    assert int(first["appId"]) >= 1000
    assert int(second["appId"]) > int(first["appId"])


async def test_a_change_keeps_ids_by_name_and_what_it_does_not_mention(apps):
    added = (await apps("POST", "", SHOP, deploy=True)).json()
    change = {
        "services": [{"serviceName": "web", "image": "web:2"}, {"serviceName": "cache", "image": "c:1"}]
    }
    changed = (await apps("PATCH", "/7", change)).json()["app"]
    web, cache = changed["services"]

    assert ids(changed)["web"] == ids(added["app"])["web"]
    assert set(ids(changed)) == {"web", "cache"}
    assert ids(changed)["cache"] not in ids(added["app"]).values()
    assert (web["imageName"], web["config"]["image"]) == ("web:2", "web:2")
    assert (web["config"]["ports"], web["config"]["environment"]) == (["8080:80"], {"COLOUR": "blue"})
    assert (changed["appName"], cache["config"]) == ("shop", {"image": "c:1"})


async def test_null_takes_a_key_of_a_service_away(apps):
    await apps("POST", "", SHOP)
    change = {"services": [{"serviceName": "web", "config": {"ports": None}}]}
    (web,) = (await apps("PATCH", "/7", change)).json()["app"]["services"]

    assert web["config"] == {"image": "web:1", "environment": {"COLOUR": "blue"}}


async def test_a_state_of_the_app_is_that_of_all_its_services(apps):
    await apps("POST", "", SHOP)
    changed = (await apps("PATCH", "/7", {"state": "stopped"})).json()["app"]

    assert states(changed) == {"web": "stopped", "db": "stopped"}


async def test_only_the_apps_part_of_what_waits_is_deployed(apps, device, desk):
    await apps("POST", "", SHOP, deploy=True)
    await apps("POST", "", {"appId": 8, "services": [{"serviceName": "log", "image": "log:1"}]})
    await apps("PATCH", "/7", {"services": [{**WEB, "image": "web:2"}]})
    deployed = (await apps("POST", "/7/deploy")).json()
    after = await told(device)
    waiting = (await desk.ask("GET", f"/devices/{device.uuid}/target-state")).json()
    nothing = await apps("POST", "/7/deploy")
    rest = (await apps("POST", "/8/deploy")).json()

    assert deployed["needsDeployment"]
    assert set(after["apps"]) == {"7"}
    assert set(waiting["draft"]["apps"]) == {"7", "8"}
    assert code_of(nothing) == (409, "state.nothing_to_deploy")
    assert not rest["needsDeployment"]
    assert set((await told(device))["apps"]) == {"7", "8"}


async def test_an_app_is_taken_away_and_others_stay(apps, device):
    await apps("POST", "", SHOP, deploy=True)
    await apps("POST", "", {"appId": 8, "services": []}, deploy=True)
    removed = (await apps("DELETE", "/7", deploy=True)).json()

    assert (removed["app"], removed["inForce"]) == (None, None)
    assert set((await told(device))["apps"]) == {"8"}
    assert code_of(await apps("DELETE", "/7")) == (404, "app.unknown")


@pytest.mark.parametrize(
    ("action", "state"), [("stop", "stopped"), ("pause", "paused"), ("start", "running")]
)
async def test_one_service_is_stopped_paused_and_started(apps, device, action, state):
    await apps("POST", "", SHOP, deploy=True)
    done = (await apps("POST", f"/7/services/web/{action}", deploy=True)).json()

    assert states(done["inForce"]) == {"web": state, "db": "running"}
    assert states((await told(device))["apps"]["7"]) == {"web": state, "db": "running"}


async def test_a_whole_app_is_stopped_by_name_of_nothing_else(apps):
    await apps("POST", "", SHOP, deploy=True)
    done = (await apps("POST", "/7/stop")).json()

    assert states(done["app"]) == {"web": "stopped", "db": "stopped"}
    assert states(done["inForce"]) == {"web": "running", "db": "running"}


async def test_a_restart_changes_only_a_variable_of_the_service_and_starts_it(apps):
    before = (await apps("POST", "", SHOP, deploy=True)).json()["app"]
    await apps("POST", "/7/services/web/stop", deploy=True)
    after = (await apps("POST", f"/7/services/{ids(before)['web']}/restart", deploy=True)).json()["inForce"]
    again = (await apps("POST", "/7/services/web/restart", deploy=True)).json()["inForce"]
    web, mark = after["services"][0], after["services"][0]["config"]["environment"].pop("IOTISTIC_RESTART")

    assert web["config"] == before["services"][0]["config"]
    assert states(after) == {"web": "running", "db": "running"}
    assert again["services"][0]["config"]["environment"]["IOTISTIC_RESTART"] > mark
    assert after["services"][1] == before["services"][1]


async def test_an_action_that_is_deployed_leaves_a_draft_waiting_and_is_in_it_too(apps, desk, device):
    await apps("POST", "", SHOP, deploy=True)
    await apps("PATCH", "/7", {"services": [{**WEB, "image": "web:2"}, DB]})
    done = (await apps("POST", "/7/services/web/stop", deploy=True)).json()

    assert done["needsDeployment"]
    assert done["inForce"]["services"][0]["config"]["image"] == "web:1"
    assert done["app"]["services"][0]["config"]["image"] == "web:2"
    assert states(done["inForce"]) == states(done["app"]) == {"web": "stopped", "db": "running"}


async def test_an_action_is_not_stopped_by_a_draft_that_takes_the_app_away(apps):
    await apps("POST", "", SHOP, deploy=True)
    await apps("DELETE", "/7")
    done = (await apps("POST", "/7/stop", deploy=True)).json()

    assert (done["app"], states(done["inForce"])) == (None, {"web": "stopped", "db": "stopped"})


async def test_what_changes_nothing_makes_no_version(apps):
    version = (await apps("POST", "", SHOP, deploy=True)).json()["version"]
    stopped = (await apps("POST", "/7/services/web/stop", deploy=True)).json()["version"]
    again = (await apps("POST", "/7/services/web/stop", deploy=True)).json()["version"]

    assert (version, stopped, again) == (2, 3, 3)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", {"appId": 8, "services": []}),
        ("PATCH", "/7", {"appName": "x"}),
        ("DELETE", "/7", None),
        ("POST", "/7/deploy", None),
        ("POST", "/7/stop", None),
        ("POST", "/7/services/web/restart", None),
    ],
)
async def test_a_change_of_another_version_than_one_believes_is_refused(apps, device, method, path, body):
    await apps("POST", "", SHOP, deploy=True)
    refused = await apps(method, path, body, expectedVersion=1)

    assert code_of(refused) == (409, "state.target_changed")
    assert refused.json()["fields"]["version"] == 2
    assert states((await told(device))["apps"]["7"]) == {"web": "running", "db": "running"}


async def test_every_fault_is_named_by_its_path_and_nothing_is_kept(apps, desk, device):
    bad = {
        "serviceName": "web",
        "image": "web:1",
        "ports": ["80"],
        "privileged": True,
        "config": {"memory": 1},
    }
    refused = await apps("POST", "", {"appId": 7, "services": [bad, {"serviceName": "a b", "image": 3}]})
    waiting = (await desk.ask("GET", f"/devices/{device.uuid}/target-state")).json()

    assert code_of(refused) == (400, "state.target_invalid")
    assert set(refused.json()["fields"]["faults"]) >= {
        "apps.7.services[0].config.ports[0]",
        "apps.7.services[0].config.memory",
        "apps.7.services[0].privileged",
        "apps.7.services[1].serviceName",
        "apps.7.services[1].config.image",
    }
    assert waiting["draft"] is None
    assert await desk.done() == []


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        {"appId": "a/b", "services": []},
        {"appId": 7, "services": 3},
        {"appId": 7, "services": [3]},
        {"appId": 7, "services": [{}]},
        {"appId": 7, "services": [{"serviceName": ["x"], "image": "x"}]},
        {"appId": 7, "services": [{"serviceName": {"a": 1}, "serviceId": {}, "config": []}]},
        {"appId": 7, "services": [{"serviceName": "w", "config": {"environment": 3, "image": None}}]},
        {"appId": 7, "services": [WEB, WEB]},
        {"appId": 7, "services": [{**WEB, "serviceId": 5}, {**DB, "serviceId": "5"}]},
        {"appId": 7, "services": [{**WEB, "environment": {"A": "\0"}}]},
        {"appId": 10**30, "services": []},
        {"appId": 7, "services": [], "rollingUpdate": "perhaps"},
    ],
)
async def test_garbage_is_refused_and_nothing_is_kept(apps, desk, body):
    refused = await apps("POST", "", body)

    assert 400 <= refused.status_code < 500, refused.text
    assert await desk.done() == []


async def test_what_is_not_there_is_named(apps, desk):
    await apps("POST", "", SHOP, deploy=True)

    assert code_of(await apps("POST", "", SHOP)) == (409, "app.exists")
    assert code_of(await apps("PATCH", "/9", {})) == (404, "app.unknown")
    assert code_of(await apps("POST", "/9/stop")) == (404, "app.unknown")
    assert code_of(await apps("POST", "/7/services/none/stop")) == (404, "app.service_unknown")
    assert code_of(await apps("POST", "/7/deploy")) == (409, "state.nothing_to_deploy")
    assert (await apps("POST", "/7/explode")).status_code == 422
    nobody = "00000000-0000-0000-0000-000000000000"
    assert code_of(await desk.ask("POST", f"/devices/{nobody}/apps", SHOP)) == (404, "device.unknown")


async def test_to_deploy_takes_more_than_to_change(apps, desk):
    changed = await apps("POST", "", SHOP, role=WRITER)
    refused = await apps("PATCH", "/7", {"appName": "x"}, role=WRITER, deploy=True)
    denied = await apps("POST", "/7/stop", role=WRITER)
    operator = await apps("PATCH", "/7", {"appName": "x"}, role="operator")
    await apps("POST", "/7/deploy", role="operator")
    stopped = await apps("POST", "/7/stop", role="operator", deploy=True)
    viewer = await apps("POST", "/7/stop", role="viewer")

    assert (changed.status_code, stopped.status_code) == (201, 200)
    for one in (refused, denied, operator, viewer):
        assert code_of(one) == (403, "auth.permission_missing")
    assert check_routes(desk.cloud.app)


async def test_changes_of_different_apps_at_once_are_all_kept(apps):
    bodies = [{"appId": 10 + n, "services": [{"serviceName": "s", "image": "i:1"}]} for n in range(8)]
    answers = await asyncio.gather(
        *(apps("POST", "", body, deploy=n % 2 == 0) for n, body in enumerate(bodies))
    )
    await asyncio.gather(*(apps("POST", f"/{10 + n}/deploy") for n in range(8)))
    last = (await apps("PATCH", "/10", {})).json()

    assert {one.status_code for one in answers} == {201}
    assert len({app["app"]["services"][0]["serviceId"] for app in (one.json() for one in answers)}) == 8
    assert last["version"] == 9
