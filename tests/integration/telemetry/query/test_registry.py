"""Metadata changes that mend the causes of dead letters."""

import asyncio

from api_builders import MAC, at

from iotistic.kernel.postgres.pool import open_connection

CLIMATE = "Climate sensor (temperature, humidity, CO2)"
POWER = {"label": "power", "unit": "W", "offset": 3, "length": 4, "encoding": "Float32"}


async def test_a_registered_device_is_found_and_registered_once(api):
    made = await api.post("/devices", json={"mac": "AA-BB-CC-DD-EE-01", "template": "F2 controller"})
    again = await api.post("/devices", json={"mac": MAC, "template": "F2 controller"})

    assert (made.status_code, made.json()["mac"], made.json()["name"]) == (
        201,
        "aa:bb:cc:dd:ee:01",
        "aa:bb:cc:dd:ee:01",
    )
    assert (again.status_code, again.json()["code"]) == (409, "device.exists")


async def test_what_a_change_leaves_out_stays(api, store):
    device = await store.device("boiler")
    await api.patch(f"/devices/{device}", json={"name": "Boiler room"})
    changed = (await api.patch(f"/devices/{device}", json={"template": CLIMATE})).json()

    assert (changed["name"], changed["template"], changed["external_key"]) == (
        "Boiler room",
        CLIMATE,
        "boiler",
    )


async def test_caches_hear_of_every_change(api, database):
    heard: list[str] = []
    listener = await open_connection(database, application_name="test")
    await listener.add_listener("metadata_changed", lambda *args: heard.append(args[3]))
    made = await api.post("/templates", json={"name": "Power meter", "type": "Modbus sensor"})
    await api.put(f"/templates/{made.json()['id']}/datapoints", json={"items": [POWER]})
    await api.post("/devices", json={"mac": MAC, "template": "F2 controller"})
    await api.put(f"/devices/{MAC}/connectors/1/pins/2", json={"template": "Power meter"})
    async with asyncio.timeout(5):
        while "pins" not in heard:  # noqa: ASYNC110 - the database sets no event
            await asyncio.sleep(0.01)
    await listener.close()

    assert {"devicetemplates", "datapoints", "devices", "connectors", "pins"} <= set(heard)


async def test_a_template_keeps_ids_and_refuses_to_lose_what_has_readings(api, store):
    template = (await api.post("/templates", json={"name": "Meter", "type": "Generic"})).json()["id"]
    path = f"/templates/{template}/datapoints"
    first = (await api.put(path, json={"items": [POWER, {"label": "spare"}]})).json()["items"]
    second = (await api.put(path, json={"items": [POWER | {"unit": "kW"}]})).json()["items"]
    device = await store.device("meter", template="Meter")
    await store.add([(at("08 00:00:00"), device, second[0]["id"], 1.0)])
    refused = await api.put(path, json={"items": []})

    assert (first[0]["id"], second[0]["unit"], len(second)) == (second[0]["id"], "kW", 1)
    assert (refused.status_code, refused.json()["fields"]) == (409, {"labels": ["power"]})
    templates = (await api.get("/templates")).json()["items"]
    assert [item["devices"] for item in templates if item["id"] == template] == [1]


async def test_another_sensor_on_the_same_pin_keeps_its_device(api, store):
    await store.device("hall", mac=MAC, template="F2 controller")
    path = f"/devices/{MAC}/connectors/3/pins/6"
    both = await asyncio.gather(*(api.put(path, json={"template": CLIMATE}) for _ in range(2)))
    changed = await api.put(path, json={"template": "Generic JSON device"})

    assert len({answer.json()["id"] for answer in (*both, changed)}) == 1
    assert changed.json()["template"] == "Generic JSON device"


async def test_what_makes_no_sense_is_refused_by_name(api, store):
    device = await store.device("plain")
    await store.device("hall", mac=MAC, template="F2 controller")
    path = "/templates/3/datapoints"
    answers = [
        await api.post("/devices", json={"mac": "aa:bb", "template": "F2 controller"}),
        await api.post("/devices", json={"template": "F2 controller"}),
        await api.post("/devices", json={"external_key": "k", "template": "none"}),
        await api.post("/templates", json={"name": "x", "type": "none"}),
        await api.post("/templates", json={"name": CLIMATE, "type": "Generic"}),
        await api.put(path, json={"items": [POWER | {"length": 2}]}),
        await api.put(path, json={"items": [{"label": "a", "offset": 3}]}),
        await api.put(path, json={"items": [{"label": "a"}, {"label": "a"}]}),
        await api.put(path, json={"items": [{"label": "a", "icon": "none"}]}),
        await api.put(f"/devices/{device}/connectors/1/pins/1", json={"template": CLIMATE}),
        await api.put(f"/devices/{MAC}/connectors/1/pins/1", json={"template": "F2 controller"}),
        await api.put(f"/devices/{MAC}/connectors/65/pins/1", json={"template": CLIMATE}),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (422, "request.invalid"),
        (422, "request.invalid"),
        (404, "template.unknown"),
        (400, "registry.name_unknown"),
        (409, "template.exists"),
        (422, "request.invalid"),
        (422, "request.invalid"),
        (422, "request.invalid"),
        (400, "registry.name_unknown"),
        (409, "registry.not_a_controller"),
        (409, "registry.not_a_sensor"),
        (422, "request.invalid"),
    ]
