"""The list of devices: filters, search, orders, pages, all in one statement by index."""

import json

import pytest

from iotistic.control.devices.fleet_answers import DevicesListed
from iotistic.control.devices.listing import Order, Page, statement_of
from iotistic.control.devices.selection import DeviceFilter, Operator, TagSelector


async def three(fleet):
    one = await fleet.add(name="Alpha", type="gateway", fleet_id="north", agent_version="1.0.0")
    two = await fleet.add(name="beta", type="sensor", fleet_id="south", agent_version="2.0.0")
    three = await fleet.add(name="Gamma 100%", type="gateway", fleet_id="south", agent_version="2.0.0")
    return one, two, three


async def test_a_device_shows_what_it_is_and_what_it_reported(fleet):
    device = await fleet.add(name="press 7")
    await device.report(
        version=3,
        cpu_usage=12.5,
        temperature=41,
        memory_usage=512,
        memory_total=1024,
        apps={"7": {}, "8": {}},
    )
    await fleet.presence.flush()
    await fleet.ask("POST", f"/devices/{device.uuid}/tags", json={"tags": {"site": "Bonn"}})
    answer = (await fleet.get("/devices")).json()
    (shown,) = answer["devices"]

    assert answer["pagination"] == {
        "page": 1, "limit": 50, "totalDevices": 1, "totalPages": 1, "totalIsExact": True, "nextCursor": None,
    }  # fmt: skip
    assert (shown["id"], shown["name"], shown["is_online"], shown["status"]) == (
        device.uuid, "press 7", True, "online",
    )  # fmt: skip
    assert (shown["cpu_usage"], shown["cpu_temp"], shown["memory_usage"], shown["metrics"]) == (
        12.5, 41, 512, {"cpu": 12.5, "memory": 50.0},
    )  # fmt: skip
    assert (shown["current_apps_count"], shown["current_version"], shown["tags"]) == (2, 3, {"site": "Bonn"})
    assert shown["lastSeen"] >= shown["created_at"]


async def test_the_list_is_as_its_description_has_it(fleet):
    """Also of a device that never said anything, and of one that is only announced."""
    await fleet.add(name="silent")
    await fleet.ask("POST", "/devices", json={"deviceName": "to come", "macAddress": "02:00:00:00:00:09"})
    reporting = await fleet.add(name="press 7")
    await reporting.report(
        version=3, cpu_usage=12.5, memory_usage=512, memory_total=1024, uptime=9, apps={"7": {}}
    )
    await fleet.presence.flush()
    answer = (await fleet.get("/devices")).json()
    listed = DevicesListed.model_validate(answer)

    assert json.loads(listed.model_dump_json(by_alias=True)) == answer


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["Alpha", "beta", "Gamma 100%"]),
        ({"q": "ALPH"}, ["Alpha"]),
        ({"q": "00%"}, ["Gamma 100%"]),
        ({"q": "_"}, []),
        ({"q": "BE"}, ["beta"]),
        ({"q": "et"}, []),
        ({"q": "02-00-00-00-00-02"}, ["beta"]),
        ({"q": "020000000003"}, ["Gamma 100%"]),
        ({"mac": "00:02"}, ["beta"]),
        ({"name": "BETA"}, ["beta"]),
        ({"type": "gateway"}, ["Alpha", "Gamma 100%"]),
        ({"type": ["gateway", "sensor"]}, ["Alpha", "beta", "Gamma 100%"]),
        ({"fleet": "south", "version": "2.0.0", "type": "gateway"}, ["Gamma 100%"]),
        ({"sort": "-name"}, ["Gamma 100%", "beta", "Alpha"]),
        ({"sort": "fleet"}, ["Alpha", "beta", "Gamma 100%"]),
        ({"sort": "-type"}, ["beta", "Gamma 100%", "Alpha"]),
        ({"sort": "-created_at"}, ["Gamma 100%", "beta", "Alpha"]),
        ({"online": "true"}, ["beta"]),
        ({"online": "false"}, ["Alpha", "Gamma 100%"]),
        ({"filter": "inactive"}, ["Gamma 100%"]),
        ({"filter": "active"}, ["Alpha", "beta"]),
        ({"tag": "site"}, ["Alpha", "beta"]),
        ({"tag": "!site"}, ["Gamma 100%"]),
        ({"tag": ["site:Bonn", "!spare"]}, ["Alpha"]),
        ({"seen_before": "-1h"}, ["Alpha", "Gamma 100%"]),
        ({"online": "false", "fleet": "south", "sort": "-last_seen"}, ["Gamma 100%"]),
        ({"q": "nothing like it"}, []),
    ],
)  # fmt: skip
async def test_filters_hold_together(fleet, asked, found):
    one, two, three_ = await three(fleet)
    await two.poll()
    await fleet.presence.flush()
    await fleet.ask("POST", f"/devices/{one.uuid}/tags", json={"key": "site", "value": "Bonn"})
    await fleet.ask("POST", f"/devices/{two.uuid}/tags", json={"tags": {"site": "Ulm", "spare": ""}})
    await fleet.ask("PATCH", f"/devices/{three_.uuid}/active", json={"is_active": False})
    answer = (await fleet.get("/devices", **asked)).json()

    assert [one["name"] for one in answer["devices"]] == found
    assert answer["pagination"]["totalDevices"] == len(found)


async def pages(fleet, order):
    """Return the uuids of all pages of five."""
    found, after = [], {}
    for _ in range(5):
        page = (await fleet.get("/devices", sort=order, limit=5, **after)).json()
        found += [one["uuid"] for one in page["devices"]]
        after = {"cursor": page["pagination"]["nextCursor"]}
    assert after == {"cursor": None}
    return found


@pytest.mark.parametrize("order", list(Order))
async def test_pages_by_cursor_give_each_device_once_in_every_order(fleet, order):
    for number in range(23):
        await fleet.add(name=f"p{number % 5}", type=f"t{number % 2}", fleet_id=f"f{number % 3}")
    whole = [one["uuid"] for one in (await fleet.get("/devices", sort=order)).json()["devices"]]

    assert await pages(fleet, order) == whole
    assert len(set(whole)) == 23


async def test_pages_by_number_reach_so_far_and_totals_count_so_far(fleet):
    for _ in range(7):
        await fleet.add()
    second = (await fleet.get("/devices", page=2, limit=3)).json()
    beyond = (await fleet.get("/devices", page=9, limit=3)).json()
    too_far = await fleet.get("/devices", page=5000, limit=100)
    filtered = (await fleet.get("/devices", page=1, limit=3, type="gateway")).json()

    assert [one["name"] for one in second["devices"]] == ["press 4", "press 5", "press 6"]
    assert (second["pagination"]["totalDevices"], second["pagination"]["totalPages"]) == (7, 3)
    assert beyond["devices"] == []
    assert (too_far.status_code, too_far.json()["code"]) == (400, "request.invalid")
    assert filtered["pagination"]["totalDevices"] == 7


@pytest.mark.parametrize(
    "asked",
    [
        {"cursor": "garbage"},
        {"cursor": "WyJkZXZpY2VzLm5hbWUiLFsxXV0"},
        {"sort": "colour"},
        {"limit": 0},
        {"limit": 100000},
        {"page": 0},
        {"colour": "red"},
        {"q": "a\0b"},
        {"filter": "x"},
        {"seen_before": "soon"},
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(fleet, asked):
    answer = await fleet.get("/devices", **asked)

    assert answer.status_code in (400, 422)
    assert next(iter(asked)) in answer.text


async def test_sql_in_filters_is_text(fleet):
    await fleet.add(name="'; DROP TABLE fleet_devices; --")
    nasty = "'; DROP TABLE fleet_devices; --"

    assert await fleet.names(q=nasty, name=nasty) == [nasty]
    assert await fleet.names(type=nasty, fleet=[nasty, "{}"], version=nasty, tag=f"{nasty}:x") == []


async def test_a_page_is_one_statement_and_reads_no_table_whole(fleet):
    await three(fleet)
    filters = (
        DeviceFilter(),
        DeviceFilter(fleets=("south",)),
        DeviceFilter(types=("gateway",), is_online=True),
        DeviceFilter(text="alpha"),
        DeviceFilter(tags=(TagSelector("site", Operator.IN, ("Bonn",)),)),
    )
    plans = []
    async with fleet.pool.acquire() as db:
        await db.execute("SET enable_seqscan = off")
        for wanted in filters:
            text, parameters = statement_of(wanted, Page())
            plans.append(await db.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *parameters))

    assert [json.loads(plan) is not None and "Seq Scan" in plan for plan in plans] == [True] + [False] * 4


async def test_devices_are_found_by_tag_selectors(fleet):
    one, two, _ = await three(fleet)
    await fleet.ask("POST", f"/devices/{one.uuid}/tags", json={"tags": {"site": "Bonn", "line": "1"}})
    await fleet.ask("POST", f"/devices/{two.uuid}/tags", json={"tags": {"site": "Ulm"}})

    async def found(selectors):
        answer = await fleet.ask("POST", "/devices/query", json={"tagSelectors": selectors})
        return [device["name"] for device in answer.json()["devices"]]

    assert await found({"site": "Bonn", "line": "1"}) == ["Alpha"]
    assert await found([{"key": "site", "values": ["Bonn", "Ulm"]}]) == ["Alpha", "beta"]
    assert await found([{"key": "site", "operator": "not-in", "value": "Bonn"}]) == ["beta", "Gamma 100%"]
    assert await found([{"key": "line", "operator": "missing"}]) == ["beta", "Gamma 100%"]


async def test_one_device_is_shown_with_its_target_and_its_report(fleet):
    device = await fleet.add()
    bare = (await fleet.get(f"/devices/{device.uuid}")).json()
    await fleet.states.begin(fleet.pool, device.uuid)
    await device.report(version=1, apps={}, cpu_usage=3.5, network_interfaces=[{"name": "eth0"}, 7])
    told = (await fleet.get(f"/devices/{device.uuid}")).json()
    interfaces = (await fleet.get(f"/devices/{device.uuid}/network-interfaces")).json()
    nobody = await fleet.get("/devices/0f8fad5b-d9cb-469f-a165-70867728950e")

    assert (bare["target_state"], bare["current_state"]) == (None, None)
    assert (told["target_state"]["version"], told["current_state"]["version"]) == (1, 1)
    assert told["current_state"]["system_info"]["cpu_usage"] == 3.5
    assert interfaces["interfaces"] == [{"name": "eth0"}]
    assert (nobody.status_code, nobody.json()["code"]) == (404, "device.unknown")


async def test_garbage_in_reports_spoils_no_list(fleet):
    device = await fleet.add()
    await device.report(
        version="x", apps=7, cpu_usage={"a": 1}, memory_usage=1e300, memory_total=-1, top_processes="no",
        network_interfaces={"a": 1}, temperature=True,
    )  # fmt: skip
    (shown,) = (await fleet.get("/devices")).json()["devices"]

    assert (shown["cpu_usage"], shown["memory_usage"], shown["current_version"], shown["current_apps_count"]) == (
        None, None, None, 0,
    )  # fmt: skip
    assert (await fleet.get(f"/devices/{device.uuid}/network-interfaces")).json()["interfaces"] == []
