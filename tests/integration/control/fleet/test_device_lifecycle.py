"""Switch on and off, describe, tag, delete: one and many, with a result for each and an audit trail."""

import asyncio
import uuid

import pytest

from iotistic.control.access.model import ROLE_PERMISSIONS, ApiKeyPrincipal, Role
from iotistic.control.devices.lifecycle import Act, Lifecycle
from iotistic.control.presence.model import Sign


async def test_a_device_that_is_switched_off_is_gone_and_refused_everything(fleet):
    device = await fleet.add()
    await device.poll()
    await fleet.presence.flush()
    off = await fleet.ask("PATCH", f"/devices/{device.uuid}/active", json={"is_active": False})
    refused = [await device.poll(), await device.report(version=1), await device.send(b'{"message": "x"}')]
    gone = await fleet.is_online(device)
    await fleet.ask("PATCH", f"/devices/{device.uuid}/active", json={"is_active": True})

    assert off.json() == {"status": "ok", "uuid": device.uuid, "is_active": False}
    assert [answer.json()["code"] for answer in refused] == ["device.inactive"] * 3
    assert (gone, (await device.poll()).status_code) == ([False], 200)
    assert [action for _, action, _ in fleet.notes.audited] == ["device.deactivated", "device.activated"]
    assert fleet.notes.transitions[-1] == (device.uuid, False, "deactivated")


async def test_a_device_is_described_field_by_field(fleet):
    device = await fleet.add(name="old", type="gateway")
    changed = await fleet.ask(
        "PATCH", f"/devices/{device.uuid}", json={"deviceName": "new", "fleetId": "hall-2"}
    )
    nothing = await fleet.ask("PATCH", f"/devices/{device.uuid}", json={})
    wrong = await fleet.ask("PATCH", f"/devices/{device.uuid}", json={"deviceName": "a\nb"})
    shown = changed.json()["device"]

    assert (shown["name"], shown["fleet_id"], shown["device_type"]) == ("new", "hall-2", "gateway")
    assert (nothing.status_code, nothing.json()["code"]) == (400, "device.nothing_to_change")
    assert wrong.status_code == 422


async def test_many_are_done_together_with_a_result_for_each(fleet):
    on, off = await fleet.add(), await fleet.add()
    await fleet.ask("PATCH", f"/devices/{off.uuid}/active", json={"is_active": False})
    missing = str(uuid.uuid4())
    body = {"deviceUuids": [on.uuid, missing, off.uuid, on.uuid]}
    done = (await fleet.ask("POST", "/devices/bulk/deactivate", json=body)).json()
    deleted = (await fleet.ask("POST", "/devices/bulk/delete", json=body)).json()
    again = (await fleet.ask("POST", "/devices/bulk/delete", json=body)).json()

    assert done == {
        "done": 1, "unchanged": 1, "unknown": 1,
        "results": [
            {"uuid": on.uuid, "outcome": "done"},
            {"uuid": missing, "outcome": "unknown"},
            {"uuid": off.uuid, "outcome": "unchanged"},
        ],
    }  # fmt: skip
    assert (deleted["done"], deleted["unknown"], again["unknown"]) == (2, 1, 3)
    assert await fleet.pool.fetchval("SELECT devices FROM fleet_device_tally") == 0


@pytest.mark.parametrize(
    "body", [{}, {"deviceUuids": []}, {"deviceUuids": ["x"]}, {"deviceUuids": ["x"] * 1001}, [], "x"]
)
async def test_garbage_for_many_is_refused(fleet, body):
    answer = await fleet.ask("POST", "/devices/bulk/delete", json=body)

    assert answer.status_code in (400, 422)


async def test_of_a_deleted_device_nothing_is_left(fleet):
    device, other = await fleet.add(), await fleet.add()
    for one in (device, other):
        await one.report(cpu_usage=1, top_processes=[{"pid": 1, "name": "init"}])
        await one.send(b'{"message": "hello", "serviceName": "web", "id": "1", "timestamp": 1}\n')
        await fleet.ask("POST", f"/devices/{one.uuid}/tags", json={"tags": {"site": "Bonn"}})
    await fleet.presence.flush()
    answer = await fleet.client.request(
        "DELETE", f"/devices/{device.uuid}", headers={"Authorization": "Bearer owner"}
    )
    refused = await device.poll()
    await fleet.keeper.clear()
    tables = await fleet.pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns c JOIN information_schema.tables t "
        "USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE' "
        "AND column_name IN ('device_uuid', 'device_number')"
    )
    left = {}
    for table, column in map(tuple, tables):
        value = device.uuid if column == "device_uuid" else str(device.number)
        left[table] = await fleet.pool.fetchval(
            f"SELECT count(*) FROM {table} WHERE {column}::text = $1", value
        )

    assert (answer.status_code, refused.json()["code"]) == (200, "device.unknown")
    assert {table for table, count in left.items() if count} == set()
    assert {"device_metrics", "device_logs", "device_tags", "device_api_keys", "device_presence"} <= set(left)
    assert (await fleet.get(f"/devices/{other.uuid}/logs")).json()["count"] == 1
    assert fleet.notes.audited[-1] == ("api-key:owner", "device.removed", device.uuid)


async def test_a_device_that_comes_back_under_its_uuid_meets_nothing_of_the_former(fleet):
    device = await fleet.add()
    await device.report(cpu_usage=1)
    await device.send(b'{"message": "of the former", "id": "1"}\n')
    await fleet.devices.remove(device.uuid)
    back = await fleet.add(uuid=device.uuid)
    logs = (await fleet.get(f"/devices/{back.uuid}/logs")).json()
    metrics = (await fleet.get(f"/devices/{back.uuid}/metrics")).json()

    assert (logs["count"], metrics["count"]) == (0, 0)


async def test_an_audit_trail_that_fails_undoes_what_was_done(fleet):
    device = await fleet.add()
    fleet.notes.failing = True
    owner = ApiKeyPrincipal(key_id="1", user_id=uuid.uuid4(), permissions=ROLE_PERMISSIONS[Role.OWNER])
    lifecycle = Lifecycle(fleet.pool, trail=fleet.notes)
    with pytest.raises(RuntimeError):
        await lifecycle.act(Act.DELETE, [device.uuid], by=owner)
    fleet.notes.failing = False

    assert (await device.poll()).status_code == 200


async def test_deletions_and_presence_at_once_wait_for_nobody(fleet):
    devices = [await fleet.add() for _ in range(12)]
    uuids = [device.uuid for device in devices]

    async def come_and_go():
        for _ in range(10):
            for one in uuids:
                fleet.presence.renew(one, Sign.POLL)
            await fleet.presence.flush()
            await fleet.pass_time(301)
            await fleet.presence.sweep()

    async def delete():
        for one in uuids:
            await fleet.ask("POST", "/devices/bulk/delete", json={"deviceUuids": [one]})

    await asyncio.wait_for(asyncio.gather(come_and_go(), delete()), 60)

    assert await fleet.pool.fetchval("SELECT count(*) FROM device_presence_history") == 0


async def test_tags_keep_to_their_definitions(fleet):
    device = await fleet.add()
    definition = {"key": "site", "allowedValues": ["Bonn", "Ulm"], "isRequired": True}
    made = await fleet.ask("POST", "/tags/definitions", json=definition)
    twice = await fleet.ask("POST", "/tags/definitions", json=definition)
    wrong = await fleet.ask(
        "POST", f"/devices/{device.uuid}/tags", json={"tags": {"site": "Kiel", "free": "x"}}
    )
    right = await fleet.ask(
        "POST", f"/devices/{device.uuid}/tags", json={"tags": {"site": "Bonn", "free": "x"}}
    )
    kept = await fleet.ask("DELETE", f"/devices/{device.uuid}/tags/site")
    replaced = await fleet.ask("PUT", f"/devices/{device.uuid}/tags", json={"tags": {"other": "y"}})
    removed = await fleet.ask("DELETE", f"/devices/{device.uuid}/tags/free")
    missing = await fleet.ask("DELETE", f"/devices/{device.uuid}/tags/free")

    assert (made.status_code, made.json()["allowedValues"]) == (201, ["Bonn", "Ulm"])
    assert (twice.status_code, twice.json()["code"]) == (409, "tag.definition_taken")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "tag.invalid")
    assert right.json() == {"tags": {"free": "x", "site": "Bonn"}}
    assert [one.json()["code"] for one in (kept, replaced)] == ["tag.required", "tag.required"]
    assert removed.json() == {"tags": {"site": "Bonn"}}
    assert (missing.status_code, missing.json()["code"]) == (404, "tag.unknown")


async def test_definitions_in_use_are_not_changed_under_the_devices(fleet):
    device = await fleet.add()
    await fleet.ask("POST", f"/devices/{device.uuid}/tags", json={"tags": {"site": "Bonn"}})
    late = await fleet.ask("POST", "/tags/definitions", json={"key": "site", "allowedValues": ["Ulm"]})
    await fleet.ask("POST", "/tags/definitions", json={"key": "site"})
    narrow = await fleet.ask("PUT", "/tags/definitions/site", json={"allowedValues": ["Ulm"]})
    used = await fleet.ask("DELETE", "/tags/definitions/site")
    unknown = await fleet.ask("DELETE", "/tags/definitions/nothing")
    keys, values = await fleet.get("/tags/keys"), await fleet.get("/tags/values/site")
    wide = await fleet.ask("PUT", "/tags/definitions/site", json={"allowedValues": ["Bonn", "Ulm"]})
    await fleet.ask("DELETE", f"/devices/{device.uuid}/tags/site")
    gone = await fleet.ask("DELETE", "/tags/definitions/site")

    assert [one.json()["code"] for one in (late, narrow, used)] == ["tag.definition_in_use"] * 3
    assert unknown.json()["code"] == "tag.definition_unknown"
    assert keys.json() == {"keys": ["site"]}
    assert values.json()["values"] == [{"value": "Bonn", "devices": 1}]
    assert (wide.json()["allowedValues"], gone.json()) == (["Bonn", "Ulm"], {"status": "ok", "key": "site"})


async def test_tags_of_many_are_set_with_a_result_for_each(fleet):
    one, two = await fleet.add(), await fleet.add()
    missing = str(uuid.uuid4())
    await fleet.ask("POST", f"/devices/{two.uuid}/tags", json={"tags": {f"k{n}": "" for n in range(50)}})
    body = {"deviceUuids": [one.uuid, two.uuid, missing], "tags": {"site": "Bonn"}, "remove": ["none"]}
    answer = (await fleet.ask("POST", "/devices/tags/bulk", json=body)).json()

    assert (answer["done"], answer["unchanged"], answer["refused"]) == (1, 0, 2)
    assert [one.get("code") for one in answer["results"]] == [None, "tag.too_many", "device.unknown"]
    assert (await fleet.get(f"/devices/{one.uuid}/tags")).json() == {"tags": {"site": "Bonn"}}


@pytest.mark.parametrize("tags", [{"": "x"}, {"a b": "x"}, {"a": "x" * 256}, {"a": "\0"}, {"a": 1}, []])
async def test_tags_of_other_shapes_are_refused(fleet, tags):
    device = await fleet.add()
    answer = await fleet.ask("POST", f"/devices/{device.uuid}/tags", json={"tags": tags})

    assert answer.status_code == 422


async def test_definition_and_tag_tried_at_once_never_contradict_each_other(fleet):
    devices = [await fleet.add() for _ in range(6)]
    tags = [
        fleet.ask("POST", f"/devices/{device.uuid}/tags", json={"tags": {"site": "Kiel"}})
        for device in devices
    ]
    definition = fleet.ask("POST", "/tags/definitions", json={"key": "site", "allowedValues": ["Ulm"]})
    *set_, defined = await asyncio.gather(*tags[:3], *tags[3:], definition)
    count = await fleet.pool.fetchval("SELECT count(*) FROM device_tags WHERE value = 'Kiel'")

    assert (defined.status_code == 201) == (count == 0)
    assert sum(one.status_code == 200 for one in set_) == count
