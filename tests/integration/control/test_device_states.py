"""Targets and reports: over HTTP as devices see them, by the service as operators do; on a real PostgreSQL."""

import asyncio
import gzip
import json

import pytest
from device_cloud import Device, build, code_of, served

from iotistic.control.states.model import (
    NoReport,
    NothingToDeploy,
    TargetChanged,
    TargetInvalid,
    VersionUnknown,
)
from iotistic.control.states.repository import POLL
from iotistic.kernel.errors import IotisticError
from iotistic.planning.target import read_target

APPS = {
    "7": {
        "appId": 7,
        "appName": "shop",
        "services": [{"serviceId": 1, "serviceName": "web", "imageName": "web:1", "config": {}}],
    }
}
ONE = {"apps": APPS, "config": {"logging": {"level": "info"}}}


@pytest.fixture
async def cloud(pool):
    async with served(build(pool)) as cloud:
        yield cloud


@pytest.fixture
async def device(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()
    return device


async def deployed(device, content=ONE):
    await device.cloud.states.set_target(device.uuid, content, by="anna")
    return await device.cloud.states.deploy(device.uuid, by="anna")


async def test_a_target_reaches_the_device_when_it_is_deployed_and_not_before(cloud, device):
    first = await device.poll()
    standing = await cloud.states.set_target(device.uuid, ONE, by="anna")
    waiting = await device.poll(first.headers["ETag"])
    target = await cloud.states.deploy(device.uuid, by="bert")
    second = await device.poll(first.headers["ETag"])
    third = await device.poll(second.headers["ETag"])
    told = second.json()[device.uuid]

    assert (first.json()[device.uuid]["apps"], first.json()[device.uuid]["version"]) == ({}, 1)
    assert standing.needs_deployment
    assert waiting.status_code == 304
    assert (second.status_code, third.status_code, third.content) == (200, 304, b"")
    assert (told["apps"], told["config"], told["version"]) == (ONE["apps"], ONE["config"], 2)
    assert (told["needs_deployment"], read_target(told).faults) == (False, [])
    assert second.headers["ETag"] == target.etag
    assert len(target.etag) == 40
    assert cloud.announced == [(device.uuid, 2, target.etag)]


@pytest.mark.parametrize("write", ["{}", '"{}"', 'W/"{}"', 'abc, "{}"'])
async def test_an_etag_is_known_however_it_is_written(device, write):
    target = await deployed(device)

    assert (await device.poll(write.format(target.etag))).status_code == 304
    assert (await device.poll("x" * 4000)).status_code == 200


async def test_a_poll_is_one_statement_that_reads_by_index(cloud, device):
    await deployed(device)
    plan = await cloud.pool.fetchval(
        "EXPLAIN (FORMAT JSON) "
        + POLL.replace("$1", f"'{device.uuid}'")
        .replace("$2", "'\\x00'::bytea")
        .replace("$3", "now()")
        .replace("$4::text[]", "ARRAY['x']::text[]")
    )
    async with cloud.pool.acquire() as one:
        await one.execute("SET enable_seqscan = off")
        indexed = await one.fetchval(
            "EXPLAIN (FORMAT JSON) "
            + POLL.replace("$1", f"'{device.uuid}'")
            .replace("$2", "'\\x00'::bytea")
            .replace("$3", "now()")
            .replace("$4::text[]", "ARRAY['x']::text[]")
        )
    seen = []
    cloud.states._pool = Counting(cloud.pool, seen)
    await device.poll()

    assert plan
    assert "Seq Scan" not in indexed
    assert indexed.count("Index Scan") >= 3
    assert len(seen) == 1


class Counting:
    """A pool that notes its statements."""

    def __init__(self, pool, seen):
        self._pool, self._seen = pool, seen

    async def fetchrow(self, query, *args):
        self._seen.append(query)
        return await self._pool.fetchrow(query, *args)


async def test_what_a_report_does_not_mention_stays(cloud, device):
    with pytest.raises(NoReport):
        await cloud.states.current(device.uuid)
    await device.report({"apps": {"7": {"services": []}}, "config": {"a": 1}, "os_version": "Debian 12"})
    await device.report({"version": 3, "temperature": 41.5})
    await device.report({"apps": {}})
    report = await cloud.states.current(device.uuid)

    assert report.fields == {
        "apps": {},
        "config": {"a": 1},
        "os_version": "Debian 12",
        "version": 3,
        "temperature": 41.5,
    }


async def test_reports_at_once_lose_nothing(cloud, device):
    answers = await asyncio.gather(*(device.report({f"field-{n}": n}) for n in range(40)))
    report = await cloud.states.current(device.uuid)

    assert {one.status_code for one in answers} == {200}
    assert report.fields == {f"field-{n}": n for n in range(40)}


async def test_reports_of_ever_new_fields_fill_no_disk(cloud, device):
    answers = [await device.report({f"field-{n}": "x" * 1_900_000}) for n in range(3)]

    assert [one.status_code for one in answers] == [200, 200, 400]
    assert code_of(answers[2]) == (400, "state.report_too_large")
    assert set((await cloud.states.current(device.uuid)).fields) == {"field-0", "field-1"}


async def test_reports_come_packed_as_well(cloud, device):
    packed = gzip.compress(json.dumps({device.uuid: {"version": 2}}).encode())
    headers = {**device.headers, "Content-Encoding": "gzip"}
    answer = await cloud.client.patch("/device/state", content=packed, headers=headers)
    torn = await cloud.client.patch("/device/state", content=packed[:-9], headers=headers)

    assert answer.json() == {"status": "ok"}
    assert code_of(torn) == (400, "request.body_invalid")


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"", (400, "request.body_invalid")),
        (b"[]", (400, "state.report_invalid")),
        (b"{}", (400, "state.report_invalid")),
        (b'{"UUID": 1}', (400, "state.report_invalid")),
        (b'{"UUID": {}, "b": {}}', (400, "state.report_invalid")),
        (b'{"x": {}}', (400, "provisioning.invalid")),
        (b'{"UUID": {"a": NaN}}', (400, "state.report_invalid")),
        (b'{"UUID": {"a": "\\u0000"}}', (400, "state.report_invalid")),
        (b'{"UUID": {"a": "\\ud800"}}', (400, "state.report_invalid")),
        (b'{"0f8fad5b-d9cb-469f-a165-70867728950e": {}}', (404, "device.unknown")),
    ],
)
async def test_reports_that_are_at_fault_change_nothing(cloud, device, content, refused):
    await device.report({"version": 1})
    answer = await cloud.client.patch(
        "/device/state", content=content.replace(b"UUID", device.uuid.encode()), headers=device.headers
    )

    assert code_of(answer) == refused
    assert (await cloud.states.current(device.uuid)).fields == {"version": 1}


async def test_a_device_reports_for_itself_only(cloud, device):
    other = Device(cloud, await cloud.key())
    await other.provision()
    answer = await cloud.client.patch(
        "/device/state", json={other.uuid: {"version": 9}}, headers=device.headers
    )

    assert code_of(answer) == (401, "device.key_unknown")


async def test_a_target_with_faults_is_refused_with_each_of_them_by_its_path(cloud, device):
    broken = {"apps": {"7": {"services": [{"serviceName": "web", "imageName": "web:1", "privileged": True}]}}}
    with pytest.raises(TargetInvalid) as caught:
        await cloud.states.set_target(device.uuid, {**broken, "colour": "red"}, by="anna")

    assert set(caught.value.fields["faults"]) == {
        "apps.7.services[0].serviceId",
        "apps.7.services[0].privileged",
        "colour",
    }
    assert not (await cloud.states.standing(device.uuid)).needs_deployment


async def test_apps_may_come_as_a_list(cloud, device):
    await deployed(device, {"apps": [APPS["7"]], "config": {}})

    assert (await device.poll()).json()[device.uuid]["apps"] == APPS


async def test_a_draft_can_be_cancelled_and_nothing_is_nothing(cloud, device):
    await cloud.states.set_target(device.uuid, ONE, by="anna")
    await cloud.states.cancel(device.uuid)
    for act in (cloud.states.cancel(device.uuid), cloud.states.deploy(device.uuid, by="anna")):
        with pytest.raises(NothingToDeploy):
            await act

    assert (await cloud.states.standing(device.uuid)).target.version == 1


async def test_going_back_makes_a_new_version_with_the_old_content(cloud, device):
    await deployed(device)
    await deployed(device, {"apps": {}, "config": {"logging": {"level": "debug"}}})
    await cloud.states.roll_back(device.uuid, 2, by="anna")
    told = (await device.poll()).json()[device.uuid]
    history = await cloud.states.history(device.uuid)
    with pytest.raises(VersionUnknown):
        await cloud.states.roll_back(device.uuid, 99, by="anna")

    assert (told["version"], told["apps"], told["config"]) == (4, ONE["apps"], ONE["config"])
    assert [target.version for target in history] == [4, 3, 2, 1]
    assert history[0].content() == history[2].content()


async def test_of_two_who_deploy_at_once_one_does(cloud, device):
    await cloud.states.set_target(device.uuid, ONE, by="anna")
    done = await asyncio.gather(
        *(cloud.states.deploy(device.uuid, by=f"operator-{n}", expected_version=1) for n in range(8)),
        return_exceptions=True,
    )

    assert sum(not isinstance(one, IotisticError) for one in done) == 1
    assert {type(one) for one in done if isinstance(one, IotisticError)} == {TargetChanged}
    assert (await cloud.states.standing(device.uuid)).target.version == 2
