"""Devices by all their names, pages that hold still, latest values, readings in both directions."""

import csv
import io
from datetime import timedelta
from urllib.parse import quote

import pytest
from api_builders import MAC, Store, at

CLIMATE = "Climate sensor (temperature, humidity, CO2)"


async def get(api, path: str, **parameters) -> dict:
    answer = await api.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def pages(api, path: str, **parameters) -> list[dict]:
    """Follow the cursors to the end; return all items."""
    page = await get(api, path, **parameters)
    items = page["items"]
    while page["next_cursor"]:
        page = await get(api, path, **(parameters | {"cursor": page["next_cursor"]}))
        items += page["items"]
    return items


@pytest.fixture
async def controller(store: Store) -> int:
    return await store.device("hall", mac=MAC, template="F2 controller")


async def test_a_device_is_found_by_any_of_its_names(api, store, controller):
    uuid = await store.connection.fetchval("SELECT uuid FROM devices WHERE id = $1", controller)
    names = "aa:bb:cc:dd:ee:01", "AA-BB-CC-DD-EE-01", MAC, f"f2-{MAC}", "hall", controller, uuid
    details = [await get(api, f"/devices/{name}") for name in names]

    assert {detail["id"] for detail in details} == {controller}
    assert (details[0]["mac"], details[0]["is_controller"]) == ("aa:bb:cc:dd:ee:01", True)


async def test_a_device_is_found_by_its_name_in_every_route_whatever_signs_it_has(api, store):
    names = "F2 x J3/sensor-1", "a/b/latest c", "100% ünï?#&"
    devices = [await store.device(name) for name in names]
    await store.connection.execute("UPDATE devices SET externalkey = 'key of ' || devicename")
    paths = [f"/devices/{quote(name, safe='')}" for name in names]

    found = [(await get(api, path))["id"] for path in paths]
    others = [
        await api.get(f"{path}/{what}") for path in paths for what in ("latest", "events", "datapoints")
    ]
    renamed = await api.patch(paths[0], json={"name": "plain"})
    assert found == devices
    assert {answer.status_code for answer in others} == {200}
    assert renamed.json()["name"] == "plain"


async def test_a_name_that_several_devices_have_is_refused_with_their_ids(api, store):
    devices = [await store.device(name) for name in ("one", "other")]
    await store.connection.execute("UPDATE devices SET devicename = 'twin'")

    answer = await api.get("/devices/twin")
    assert (answer.status_code, answer.json()["code"]) == (409, "device.ambiguous")
    assert answer.json()["fields"]["devices"] == devices


async def test_an_external_key_wins_over_a_name(api, store):
    await store.device("other")
    keyed = await store.device("keyed")
    await store.connection.execute("UPDATE devices SET devicename = 'keyed' WHERE id <> $1", keyed)

    assert (await get(api, "/devices/keyed"))["id"] == keyed


async def test_latest_values_of_an_unknown_id_are_a_404(api, controller):
    answer = await api.get("/latest", params={"device": [controller, 99999]})

    assert (answer.status_code, answer.json()["code"]) == (404, "device.unknown")


async def test_an_unknown_device_is_a_404_with_a_stable_code(api):
    names = "nobody", "99999", "99999999999999999999", "aa:bb:cc:dd:ee:ff", "%00"
    answers = [await api.get(f"/devices/{name}") for name in names]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "device.unknown")}


@pytest.mark.parametrize("order", ["id", "-id", "name", "-name", "last_seen", "-last_seen"])
async def test_pages_of_devices_hold_still_while_devices_come(api, store, order):
    datapoint = await store.datapoint("t")
    for number in (3, 1, 4, 1.5, 9, 2.6):
        device = await store.device(f"d{number}")
        await store.add(
            [(at("08 00:00:00") + timedelta(minutes=number), device, datapoint, number)][: device % 3]
        )
    whole = [item["id"] for item in await pages(api, "/devices", sort=order)]

    first = await get(api, "/devices", sort=order, limit=2)
    await store.device("d1.2")
    rest = await pages(api, "/devices", cursor=first["next_cursor"], sort=order, limit=2)
    seen = [item["id"] for item in first["items"] + rest]

    assert len(seen) == len(set(seen))
    assert [number for number in seen if number in whole] == whole


async def test_devices_are_filtered_by_text_template_and_time(api, store, controller):
    boiler, datapoint = await store.device("100%_boiler"), await store.datapoint("t", unit="°C")
    await store.add(
        [(at("08 00:00:00"), boiler, datapoint, 1.0), (at("09 00:00:00"), boiler, datapoint, 2.0)]
    )

    async def found(**parameters) -> list[int]:
        return [item["id"] for item in (await get(api, "/devices", **parameters))["items"]]

    assert await found(q="%_BOIL") == [boiler]
    assert await found(q="cc:dd") == [controller]
    assert await found(q="nothing") == []
    assert await found(template="F2 controller") == [controller]
    assert await found(seen_since="2026-03-09T00:00:00Z") == [boiler]
    assert await found(seen_since="2026-03-09T00:00:01Z") == []
    [item] = (await get(api, "/devices", q="boiler"))["items"]
    assert (item["last_seen"], item["datapoints"]) == ("2026-03-09T00:00:00Z", 1)


@pytest.mark.every_store
async def test_a_controller_is_seen_when_a_sensor_on_its_pins_is(api, store, controller):
    path = f"/devices/{MAC}/connectors/1/pins/1"
    sensor = (await api.put(path, json={"template": CLIMATE})).json()["id"]
    datapoint = await store.datapoint("t", template=CLIMATE)
    await store.add([(at("08 00:00:00"), sensor, datapoint, 1.0)])

    seen = {item["id"]: item for item in (await get(api, "/devices", sort="-last_seen"))["items"]}
    assert seen[controller]["last_seen"] == seen[sensor]["last_seen"] == "2026-03-08T00:00:00Z"
    assert (seen[controller]["datapoints"], seen[sensor]["datapoints"]) == (0, 1)


@pytest.mark.every_store
async def test_latest_values_have_numbers_and_texts(api, store, controller):
    number = await store.datapoint("J1/strike-1", template="F2 controller")
    reader = await store.datapoint("J1/reader-1", template="F2 controller")
    await store.add(
        [(at("08 00:00:00"), controller, number, 1.0), (at("07 00:00:00"), controller, number, 0.0)]
    )
    await store.add_events(
        [(at("08 00:00:02"), controller, reader, "card, 7"), (at("08 00:00:01"), controller, reader, "x")]
    )

    one = await get(api, f"/devices/{MAC}/latest")
    several = await get(api, "/latest", device=[MAC, str(controller)])

    assert one == several
    assert [(i["label"], i["value"], i["text"], i["timestamp"]) for i in one["items"]] == [
        ("J1/strike-1", 1.0, None, "2026-03-08T00:00:00Z"),
        ("J1/reader-1", None, "card, 7", "2026-03-08T00:00:02Z"),
    ]


async def test_a_controller_shows_its_pins_and_a_sensor_its_seat(api, controller):
    answer = await api.put(
        f"/devices/{controller}/connectors/2/pins/1",
        json={"template": "Climate sensor (temperature, humidity, CO2)", "name": "Boiler room"},
    )
    sensor = answer.json()
    detail = await get(api, f"/devices/{controller}")

    assert sensor["seats"] == [{"controller_id": controller, "connector": 2, "pin": 1}]
    assert [(c["number"], [p["device_id"] for p in c["pins"]]) for c in detail["connectors"]] == [
        (2, [sensor["id"]])
    ]
    assert [d["label"] for d in (await get(api, f"/devices/{sensor['id']}/datapoints"))["items"]] == [
        "temperature", "humidity", "co2",
    ]  # fmt: skip


@pytest.fixture
async def history(store: Store) -> tuple[int, int, int]:
    """Twenty rows of two datapoints, some at the same instant."""
    device = await store.device("boiler")
    first, second = await store.datapoint("first"), await store.datapoint('sec"ond, é')
    await store.add(
        [
            (at("08 00:00:00") + timedelta(seconds=n // 2), device, (first, second)[n % 2], float(n))
            for n in range(20)
        ]
    )
    return device, first, second


WHOLE = {"from": "2026-03-08T00:00:00Z", "to": "2026-03-08T01:00:00Z"}


@pytest.mark.parametrize(("order", "values"), [("asc", list(range(20))), ("desc", list(range(19, -1, -1)))])
async def test_readings_are_paged_forth_and_back(api, history, order, values):
    path = f"/devices/{history[0]}/readings"
    forth = await pages(api, path, order=order, limit=3, **WHOLE)
    middle = await get(api, path, order=order, limit=19, **WHOLE)
    last = await get(api, path, order=order, limit=4, cursor=middle["next_cursor"], **WHOLE)
    back = await get(api, path, order=order, limit=4, cursor=last["previous_cursor"], **WHOLE)

    assert [item["value"] for item in forth] == values
    assert [item["value"] for item in last["items"]] == values[-1:]
    assert last["next_cursor"] is None
    assert [item["value"] for item in back["items"]] == values[-5:-1]


async def test_the_way_back_finds_rows_that_came_since(api, store, history):
    path = f"/devices/{history[0]}/readings"
    page = await get(api, path, limit=5, **WHOLE)
    await store.add([(at("08 00:30:00"), history[0], history[1], 99.0)])

    newer = await get(api, path, limit=5, cursor=page["previous_cursor"], **WHOLE)

    assert [item["value"] for item in newer["items"]] == [99.0]
    assert (await get(api, path, limit=5, cursor=newer["next_cursor"], **WHOLE))["items"] == page["items"]


@pytest.mark.every_store
async def test_pages_of_readings_hold_still_while_rows_come(api, store, history):
    path = f"/devices/{history[0]}/readings"
    page = await get(api, path, limit=10, **WHOLE)
    await store.add([(at("08 00:40:00"), history[0], history[2], 77.0)])
    rest = await get(api, path, limit=100, cursor=page["next_cursor"], **WHOLE)

    assert [item["value"] for item in page["items"] + rest["items"]] == list(range(19, -1, -1))


async def test_csv_streams_the_whole_range_and_any_reader_understands_it(api, store, history):
    device, first, _ = history
    start = at("08 00:10:00")
    await store.add([(start + timedelta(milliseconds=n), device, first, n / 7) for n in range(11_000)])

    answer = await api.get(f"/devices/{device}/readings", params={"format": "csv", "order": "asc", **WHOLE})
    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert [float(row["value"]) for row in rows] == [*range(20), *(n / 7 for n in range(11_000))]
    assert rows[1]["label"] == 'sec"ond, é'
    assert rows[0]["unit"] == ""


async def test_text_readings_are_paged(api, store, controller):
    reader = await store.datapoint("J1/reader-1", template="F2 controller")
    await store.add_events([(at("08 00:00:01"), controller, reader, f"card {n}") for n in range(7)])

    events = await pages(api, f"/devices/{controller}/events", limit=2, datapoint="J1/reader-1", **WHOLE)

    assert [event["value"] for event in events] == [f"card {n}" for n in range(6, -1, -1)]


@pytest.mark.every_store
async def test_figures_are_told_with_what_is_estimated(api, store, history):
    await store.connection.execute("ANALYZE decoded_data")
    await store.dead_letter("decode.crc_mismatch")

    stats = await get(api, "/stats")

    assert (stats["devices"], stats["rows_stored"], stats["dead_letters_open"]) == (1, 20, 1)
    assert stats["rows_stored_is_estimate"] is True
