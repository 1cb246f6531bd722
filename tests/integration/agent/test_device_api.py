"""The device API over real sockets."""

import asyncio
import json
import socket
import stat
from dataclasses import replace

import aiohttp
import pytest
from device_rig import DeviceRig, shop_document

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.agent.local_api import bodies
from iotistic.agent.local_api.access import Mode, Policy
from iotistic.planning.model import Current, Health


@pytest.fixture
async def rig(tmp_path):
    async with DeviceRig(tmp_path).running() as running:
        await running.settled()
        yield running


RUNNING = {"web": "running", "db": "running", "cache": "running"}
STOPPED = dict.fromkeys(RUNNING, "exited")


async def test_it_answers_a_ping(rig):
    answer = await rig.ask("GET", "/ping")

    assert (answer.status, answer.body) == (200, "OK")
    assert answer.headers["Server"] == "iotistic"


async def test_it_says_what_the_device_is(rig):
    for path in ("/v1/device", "/v2/device"):
        body = (await rig.ask("GET", path)).body
        assert body["uuid"] == rig.fleet.status().uuid
        assert (body["agentVersion"], body["engine"], body["settled"]) == ("1.2.3", "simulated", True)
        assert body["provisioned"] is False
    assert (await rig.ask("GET", "/v2/version")).body == {"status": "success", "version": "1.2.3"}
    assert (await rig.ask("GET", "/v2/device/name")).body["deviceName"] == "device"
    assert (await rig.ask("GET", "/v2/connection/health")).body["status"] == "online"


class LostEngine(SimulatedEngine):
    lost = False

    async def observe(self):
        if self.lost:
            raise EngineUnavailable("the socket is gone")
        return await super().observe()


async def test_health_is_about_the_container_engine(tmp_path):
    engine = LostEngine(lambda: 0.0)
    async with DeviceRig(tmp_path, engine).running() as rig:
        await rig.settled()
        assert (await rig.ask("GET", "/v1/healthy")).status == 200
        engine.lost = True
        rig.loop.look()
        await rig.until(lambda: rig.loop.standing.engine_away)
        answer = await rig.ask("GET", "/v1/healthy")
        stopping = await rig.ask("POST", "/v1/services/web/stop", {"wait": 0.1})

    assert (answer.status, answer.body["engineAway"]) == (503, "the socket is gone")
    assert stopping.status == 202
    assert "does not answer" in stopping.body["waiting"][0]


async def test_apps_and_services_are_listed(rig):
    apps = (await rig.ask("GET", "/v1/apps")).body["apps"]
    by_name = (await rig.ask("GET", "/v1/apps/shop")).body
    state = (await rig.ask("GET", "/v2/applications/state")).body
    services = (await rig.ask("GET", "/v1/services?app=7")).body["services"]
    web = (await rig.ask("GET", "/v1/services/web")).body

    assert [one["appId"] for one in apps] == [7]
    assert by_name == apps[0] == state["apps"]["7"]
    assert {one["serviceName"]: one["status"] for one in services} == RUNNING
    assert (web["serviceId"], web["appName"], web["containerId"]) == (1, "shop", rig.ids()["web"])


@pytest.mark.parametrize(
    ("stop", "start"),
    [
        ("/v1/apps/7/stop", "/v1/apps/7/start"),
        ("/v1/apps/shop/stop", "/v1/apps/shop/restart"),
        ("/v2/applications/7/stop", "/v2/applications/7/start"),
    ],
)
async def test_an_app_stops_and_starts_whole(rig, stop, start):
    before = rig.ids()
    stopped = await rig.ask("POST", stop, {"force": False})
    assert (stopped.status, stopped.body["done"], rig.statuses()) == (200, True, STOPPED)
    assert [one["serviceName"] for one in stopped.body["services"]] == ["web", "db", "cache"]
    await rig.ask("POST", "/v1/apps/7/start")

    assert (await rig.ask("POST", start)).status == 200
    assert (rig.statuses(), rig.ids()) == (RUNNING, before)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/services/web/stop", {}),
        ("/v1/services/1/stop?app=shop", {"appId": 7}),
        ("/v2/applications/7/stop-service", {"serviceName": "web"}),
        ("/v2/applications/7/stop-service", {"serviceId": 1}),
        ("/v1/apps/7/stop", {"serviceName": "web"}),
    ],
)
async def test_a_service_stops_by_each_of_its_names_and_starts_again(rig, path, body):
    stopped = await rig.ask("POST", path, body)
    assert (stopped.status, rig.statuses()) == (200, RUNNING | {"web": "exited"})
    web = (await rig.ask("GET", "/v1/services/web")).body
    assert (web["state"], web["cloudState"], web["status"]) == ("stopped", "running", "exited")
    started = await rig.ask("POST", "/v2/applications/7/start-service", {"serviceName": "web"})

    assert (started.status, rig.statuses()) == (200, RUNNING)


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        ("/v1/restart", {"appId": 7}, 3),
        ("/v2/applications/7/restart", None, 3),
        ("/v1/services/web/restart", None, 1),
        ("/v2/applications/7/restart-service", {"serviceName": "web"}, 1),
    ],
)
async def test_a_restart_keeps_the_containers(rig, path, body, count):
    before, started = rig.ids(), {one.id: one.started_at for one in rig.engine.world.containers.values()}
    answer = await rig.ask("POST", path, body)
    after = {one.id: one.started_at for one in rig.engine.world.containers.values()}

    assert (answer.status, len(answer.body["services"]), rig.statuses()) == (200, count, RUNNING)
    assert rig.ids() == before
    assert sum(after[one] > started[one] for one in after) == count


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/purge", {"appId": "7"}), ("/v1/apps/shop/purge", None), ("/v2/applications/7/purge", {"wait": 9})],
)
async def test_a_purge_makes_the_volumes_anew(rig, path, body):
    before = dict(rig.engine.world.volumes)
    answer = await rig.ask("POST", path, body)
    after = dict(rig.engine.world.volumes)

    assert (answer.status, rig.statuses()) == (200, RUNNING)
    assert after.keys() == before.keys()
    assert all(after[name] > before[name] for name in before)


async def test_an_app_that_holds_its_lock_answers_423_unless_forced(rig):
    (rig.locks.folder("7") / "updates.lock").touch()
    for path in ("/v1/apps/7/stop", "/v1/services/web/restart", "/v1/apps/7/purge", "/v1/reboot"):
        refused = await rig.ask("POST", path, {})
        assert (refused.status, refused.body["code"]) == (423, "reconcile.lock_held")
        assert refused.headers["Content-Type"].startswith("application/problem+json")
    forced = await rig.ask("POST", "/v1/services/web/stop", {"force": True})

    assert (forced.status, rig.statuses()["web"]) == (200, "exited")


async def test_settings_are_shown_changed_and_put_back(rig):
    shown = (await rig.ask("GET", "/v1/config")).body["config"]
    assert shown["POLL_INTERVAL_MS"]["source"] == "environment"
    changed = await rig.ask("PATCH", "/v1/config", {"LOG_LEVEL": "debug", "POLL_INTERVAL_MS": "2000"})
    assert (changed.body["changed"], changed.body["needsRestart"]) == (
        ["LOG_LEVEL", "POLL_INTERVAL_MS"],
        ["POLL_INTERVAL_MS"],
    )
    assert rig.log_level == "debug"
    one = (await rig.ask("GET", "/v1/config/poll_interval_ms")).body
    assert (one["value"], one["source"]) == (2000, "local")
    refused = await rig.ask("PATCH", "/v1/config", {"LOG_LEVEL": "loud", "DEVICE_NAME": "x"})
    assert (refused.status, refused.body["code"]) == (400, "config.value_invalid")
    assert "LOG_LEVEL" in refused.body["fields"]["faults"]
    assert (await rig.ask("GET", "/v1/config/DEVICE_NAME")).body["value"] == "device"
    await rig.ask("DELETE", "/v1/config/POLL_INTERVAL_MS")
    await rig.ask("DELETE", "/v1/config")

    assert rig.log_level == "info"
    assert (await rig.ask("GET", "/v1/config/POLL_INTERVAL_MS")).body["value"] == 5000
    assert (await rig.ask("GET", "/v1/config/NOTHING")).status == 404


async def test_a_device_comes_into_a_fleet_and_leaves_it_with_the_same_key(rig):
    key, file = rig.key.text, rig.folder / "device-api.key"
    await rig.ask(
        "PATCH", "/v1/config", {"DEVICE_NAME": "pump", "CLOUD_API_ENDPOINT": "https://cloud.example"}
    )
    provisioned = await rig.ask("POST", "/v1/provision", {"provisioningApiKey": "secret", "applicationId": 9})
    assert provisioned.status == 200
    assert rig.fleet.request.api_endpoint == "https://cloud.example"
    assert (rig.fleet.request.device_name, rig.fleet.request.application_id) == ("pump", "9")
    assert "secret" not in json.dumps(provisioned.body)
    status = (await rig.ask("GET", "/v1/provision/status")).body
    expected = {
        "provisioned",
        "uuid",
        "deviceId",
        "deviceName",
        "apiEndpoint",
        "hasProvisioningKey",
        "mqttConfigured",
    }
    assert expected <= status.keys()
    again = await rig.ask("POST", "/v1/provision", {"provisioningApiKey": "secret"})
    assert (again.status, again.body["code"]) == (409, "provisioning.already_provisioned")
    left = await rig.ask("POST", "/v1/deprovision")

    assert (left.body["provisioned"], left.body["cloudTold"]) == (False, True)
    assert (rig.key.text, (await rig.store.device.load()).local_api_key) == (key, key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_factory_reset_forgets_settings_and_the_key(rig):
    key = rig.key.text
    await rig.ask("PATCH", "/v1/config", {"DEVICE_NAME": "pump", "LOG_LEVEL": "debug"})
    answer = await rig.ask("POST", "/v1/factory-reset", {})

    assert rig.log_level == "info"
    assert answer.body["cloudNotToldBecause"] == "the cloud does not answer"
    assert (await rig.ask("GET", "/v1/config/DEVICE_NAME")).body["value"] == "device"
    assert rig.key.text != key
    assert (rig.folder / "device-api.key").read_text().strip() == rig.key.text
    assert (await rig.store.device.load()).local_api_key == rig.key.text


async def test_scenarios_of_the_simulation_start_and_stop(rig):
    started = await rig.ask("POST", "/v1/simulation/scenarios/sensor_data/start")
    status = (await rig.ask("GET", "/v1/simulation/status")).body
    unknown = await rig.ask("POST", "/v1/simulation/scenarios/nothing/start")
    stopped = await rig.ask("POST", "/v1/simulation/scenarios/sensor_data/stop")
    await rig.ask("POST", "/v1/simulation/stop-all")

    assert (started.status, started.body["scenario"]["running"]) == (200, True)
    assert status["activeCount"] == 1
    assert (unknown.status, unknown.body["code"]) == (404, "simulation.scenario_unknown")
    assert stopped.body["scenario"]["running"] is False
    assert (await rig.ask("POST", "/v1/test/anomaly", {"metric": "cpu"})).body["asked"] == {"metric": "cpu"}


async def test_the_machine_and_the_agent_are_restarted_when_nobody_minds(rig):
    for path in ("/v1/reboot", "/v1/shutdown", "/v1/agent/restart"):
        assert (await rig.ask("POST", path)).status == 202

    assert rig.host.asked == ["reboot", "shutdown", "restart"]


async def test_it_shows_plan_parts_machine_and_jobs(rig):
    plan = (await rig.ask("GET", "/v2/plan")).body
    diagnostics = (await rig.ask("GET", "/v2/diagnostics")).body
    metrics = (await rig.ask("GET", "/v2/metrics")).body
    jobs = (await rig.ask("GET", "/v2/jobs")).body

    assert (plan["settled"], plan["steps"]) == (True, [])
    assert diagnostics["parts"] == {"cloud": {"status": "online", "failures": 0}}
    assert metrics["memory_total"] > 0
    assert [(one["jobId"], one["status"], one["finishedAt"]) for one in jobs["jobs"]] == [
        ("j1", "SUCCEEDED", "1970-01-01T00:00:03.500Z")
    ]


async def test_the_last_log_lines_are_shown_of_all_or_of_one(rig):
    for number in range(5):
        rig.say(f"web {number}")
        rig.say(f"db {number}", "db", "2")
    everything = (await rig.ask("GET", "/v2/logs?lines=3")).body
    of_db = (await rig.ask("GET", "/v1/services/db/logs")).body

    assert [one["message"] for one in everything["logs"]] == ["db 3", "web 4", "db 4"]
    assert [one["message"] for one in of_db["logs"]] == [f"db {number}" for number in range(5)]


async def test_log_lines_are_followed_as_they_come(rig):
    rig.say("before")
    async with (
        aiohttp.ClientSession() as session,
        session.get(rig.url + "/v2/logs?follow=true&service=web") as response,
    ):
        seen = [json.loads(await response.content.readline())["message"]]
        for number in range(3):
            rig.say(f"line {number}")
            rig.say("hidden", "db", "2")
            seen.append(json.loads(await response.content.readline())["message"])
    rig.say("to nobody")
    rig.say("to nobody")
    await rig.until(lambda: not rig.logs._followers)

    assert seen == ["before", "line 0", "line 1", "line 2"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/restart", {}, "appId: is missing"),
        ("/v1/apps/7/stop", {"forse": True}, "forse"),
        ("/v1/apps/7/stop", {"force": "yes"}, "force"),
        ("/v1/apps/7/stop", {"wait": 1e9}, "wait"),
        ("/v1/apps/7/stop", {"wait": -1}, "wait"),
        ("/v1/apps/7/stop", [], "object"),
        ("/v2/applications/7/stop-service", {}, "serviceName"),
        ("/v1/provision", {}, "provisioningApiKey: is missing"),
        ("/v1/provision", {"provisioningApiKey": 7}, "provisioningApiKey"),
        ("/v1/provision", {"provisioningApiKey": "k", "apiEndpoint": "ftp://x"}, "apiEndpoint"),
        ("/v1/provision", {"provisioningApiKey": "k", "apiEndpoint": "http://[::1"}, "apiEndpoint"),
        ("/v1/simulation/scenarios/sensor_data/start", {"config": 7}, "config"),
    ],
)
async def test_a_body_that_is_wrong_is_told_by_its_field_and_changes_nothing(rig, path, body, said):
    answer = await rig.ask("POST", path, body)

    assert (answer.status, answer.body["code"]) == (400, "request.invalid")
    assert said in answer.body["detail"]
    assert rig.statuses() == RUNNING
    assert rig.fleet.request is None


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[" * 50_000, b'{"force": NaN}', b"null", b'"text"', b"{}{}"]
)
async def test_garbage_in_a_body_is_refused(rig, content):
    async with (
        aiohttp.ClientSession() as session,
        session.post(rig.url + "/v1/apps/7/stop", data=content) as response,
    ):
        body = await response.json(content_type=None)

    assert (response.status, body["code"]) == (400, "request.invalid")
    assert rig.statuses() == RUNNING


async def test_a_body_that_is_too_large_is_refused(rig):
    answer = await rig.ask("POST", "/v1/apps/7/stop", {"force": "x" * 70_000})

    assert (answer.status, answer.body["code"]) == (413, "http.request_entity_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/apps/nothing", 404),
        ("POST", "/v1/apps/7/explode", 404),
        ("POST", "/v1/services/nothing/stop", 404),
        ("GET", "/v1/apps/7/stop", 405),
        ("GET", "/v2/logs?lines=0", 400),
        ("GET", "/v2/logs?lines=%C2%B2", 400),
        ("GET", "/v2/logs?follow=perhaps", 400),
        ("GET", "/v1/config/%00", 404),
    ],
)
async def test_whatever_goes_wrong_is_a_problem_document(rig, method, path, status):
    answer = await rig.ask(method, path)

    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "code", "detail"} <= answer.body.keys()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300,
        b"GET /ping\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /v1/apps/7/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/apps/7/stop HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00" * 10_000,
    ],
)
async def test_what_is_no_http_ends_the_connection_and_nothing_else(rig, sent, caplog):
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.api.addresses[0][1])
    writer.write(sent)
    async with asyncio.timeout(15):
        answered = await reader.read()
    writer.close()

    assert not answered.startswith(b"HTTP/1.1 2")
    assert (await rig.ask("GET", "/ping")).body == "OK"
    assert rig.statuses() == RUNNING
    assert caplog.records == []


async def test_a_connection_that_never_asks_is_closed(tmp_path):
    async with DeviceRig(tmp_path, first_request_within_s=0.3).running() as rig:
        port = rig.api.addresses[0][1]
        silent, slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        slow[1].write(b"GET /ping HTTP/1.1\r\nHost: loc")
        async with asyncio.timeout(5):
            assert await silent[0].read() == b""
            assert await slow[0].read() == b""
        for _, writer in (silent, slow):
            writer.close()
        assert (await rig.ask("GET", "/ping")).body == "OK"


async def test_a_body_that_does_not_come_is_not_waited_for(rig, monkeypatch):
    monkeypatch.setattr(bodies, "_WITHIN_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.api.addresses[0][1])
    writer.write(b"POST /v1/apps/7/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{")
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n")
    writer.close()

    assert b" 408 " in head
    assert rig.statuses() == RUNNING


async def test_more_connections_than_it_takes_are_closed_and_the_others_go_on(tmp_path):
    async with DeviceRig(tmp_path, first_request_within_s=1.0).running() as rig:
        port = rig.api.addresses[0][1]
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(80)]
        async with asyncio.timeout(5):
            ends = [reader for reader, _ in pairs[70:]]
            assert [await reader.read() for reader in ends] == [b""] * 10
        async with asyncio.timeout(10):
            assert [await reader.read() for reader, _ in pairs[:70]] == [b""] * 70
        for _, writer in pairs:
            writer.close()
        assert (await rig.ask("GET", "/ping")).body == "OK"


async def test_a_port_that_is_taken_is_taken_up_when_it_is_free(tmp_path):
    taken = socket.create_server(("127.0.0.1", 0))
    rig = DeviceRig(tmp_path, port=taken.getsockname()[1])

    async def free():
        await asyncio.sleep(0.3)
        assert not rig.api.listening.is_set()
        taken.close()

    freeing = asyncio.create_task(free())
    async with rig.running():
        await freeing
        assert (await rig.ask("GET", "/ping")).body == "OK"


async def test_what_an_agent_does_not_have_is_answered_with_501(tmp_path):
    class Bare(DeviceRig):
        def _parts(self):
            from dataclasses import replace

            bare = dict.fromkeys(
                ("provisioning", "logs", "simulation", "anomalies", "host", "machine", "jobs", "diagnoses")
            )
            return replace(super()._parts(), **bare)

    paths = ["GET /v1/provision/status", "GET /v2/logs", "GET /v2/jobs", "GET /v2/metrics", "POST /v1/reboot"]
    paths += ["POST /v1/test/anomaly", "POST /v1/simulation/stop-all", "POST /v1/agent/restart"]
    async with Bare(tmp_path).running() as rig:
        answers = [await rig.ask(*path.split()) for path in paths]
        fine = [
            await rig.ask("GET", path) for path in ("/v1/device", "/v2/diagnostics", "/v2/connection/health")
        ]

    assert [(one.status, one.body["code"]) for one in answers] == [(501, "device_api.not_possible")] * len(
        paths
    )
    assert [one.status for one in fine] == [200] * 3


async def test_the_key_and_the_wishes_are_the_same_after_a_start(tmp_path):
    async with DeviceRig(tmp_path).running() as rig:
        await rig.settled()
        await rig.ask("POST", "/v1/services/web/stop")
        await rig.ask("PATCH", "/v1/config", {"DEVICE_NAME": "pump"})
        key = rig.key.text
    async with DeviceRig(tmp_path, rig.engine).running() as again:
        await again.settled()
        assert again.key.text == key
        assert again.statuses() == RUNNING | {"web": "exited"}
        assert (await again.ask("GET", "/v1/config/DEVICE_NAME")).body["source"] == "local"
    newer = shop_document(image="web:2")
    async with DeviceRig(tmp_path, rig.engine, document=newer).running() as newest:
        await newest.until(lambda: newest.statuses() == RUNNING)


async def test_ipv6_is_answered_too(tmp_path):
    async with DeviceRig(tmp_path, policy=Policy(Mode.LOCALHOST_ONLY)).running() as rig:
        addresses = [host for host, _ in rig.api.addresses]

    assert addresses[0] == "127.0.0.1"
    assert set(addresses) <= {"127.0.0.1", "::1"}


async def test_lines_of_a_service_that_there_is_not_are_refused_and_those_of_one_that_is_gone_are_told(rig):
    rig.say("farewell", service="gone", service_id="9")

    assert (await rig.ask("GET", "/v2/logs?service=nothing")).status == 404
    assert (await rig.ask("GET", "/v2/logs?service=web")).body["logs"] == []
    assert (await rig.ask("GET", "/v2/logs?service=gone")).body["count"] == 1


async def test_provisioning_without_a_cloud_says_what_is_missing(rig):
    answer = await rig.ask("POST", "/v1/provision", {"provisioningApiKey": "k"})

    assert answer.status == 400
    assert answer.body["fields"]["faults"][0]["path"] == "apiEndpoint"


async def test_services_are_told_with_what_probes_say(rig):
    rig.loop.standing = replace(
        rig.loop.standing,
        current=Current(
            tuple(replace(one, health=Health.NOT_READY) for one in rig.loop.standing.current.containers)
        ),
    )
    service = (await rig.ask("GET", "/v1/services/web")).body

    assert service["health"] == "not-ready"
