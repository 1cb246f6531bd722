"""What cannot be stored is kept with its reason, its cause is mended by the API, and replay stores it."""

import itertools
import struct

import pytest
from fault_tools import site, until
from outside_tools import (
    FREE_PORTS,
    api,
    as_device,
    as_service,
    enrolled,
    fresh_mac,
    iotistic,
    latest,
    modbus,
    said_json,
    stamp,
)

CLIMATE = "Climate sensor (temperature, humidity, CO2)"
AIR = struct.pack(">hHH6x", 2150, 4567, 1234)
SENT = "tele/f2-{}/sensor-mode/J1/sensor-1"
SIREN = "stat/f2-{}/alarm-mode/J2/siren-1"
STATUS = {"status": True}
_names = itertools.count(1)


@pytest.fixture(scope="module")
def strict():
    """An installation that stores nothing of devices that nobody registered."""
    with site(UNKNOWN_DEVICES="refuse", **FREE_PORTS) as running:
        yield running


@pytest.fixture
def device(strict, tmp_path):
    return enrolled(strict, tmp_path)


@pytest.fixture
def controller(strict, device):
    api(strict, "POST", "/devices", {"mac": device.mac, "template": "F2 controller"})
    return device


def letters(running, mac, state="open"):
    """Return the dead letters of one device, oldest first."""
    listed = api(running, "GET", "/dead-letters", state=state, limit=1000)["items"]
    return [letter for letter in reversed(listed) if mac in letter["topic"]]


def sent(running, identity, topic, payload):
    """Publish as the device; return the dead letter that this makes."""
    before = len(letters(running, identity.mac))
    with as_device(running, identity) as wire:
        wire.publish(topic.format(identity.mac), payload)
    return until(lambda: letters(running, identity.mac)[before:], 10)[0]


def replayed(running, *selection):
    return said_json(running, "dead-letters", "replay", *selection)


def template(running, *datapoints):
    made = api(running, "POST", "/templates", {"name": f"Sensor {next(_names)}", "type": "Modbus sensor"})
    api(running, "PUT", f"/templates/{made['id']}/datapoints", {"items": list(datapoints)})
    return made


def plugged(running, mac, name):
    return api(running, "PUT", f"/devices/{mac}/connectors/1/pins/1", {"template": name})["id"]


def values(running, device):
    return {label: item["value"] for label, item in latest(running, device).items()}


TEMPERATURE = {"label": "temperature", "offset": 3, "length": 2, "encoding": "Int16", "decimals": 2}


def test_an_unregistered_device_waits_as_dead_letters_until_it_is_registered(strict, device):
    said = STATUS | {"timestamp": stamp()}
    letter = sent(strict, device, SIREN, said)
    api(strict, "POST", "/devices", {"mac": device.mac, "template": "F2 controller", "name": "Hall"})
    without_datapoint = replayed(strict, str(letter["id"]))
    [again] = until(lambda: letters(strict, device.mac), 10)

    assert letter["reason"] == "resolve.device_unknown"
    assert without_datapoint["replayed"] == 1
    assert again["reason"] == "resolve.datapoint_unknown"


def test_registering_controller_and_datapoint_stores_what_waited(strict, device):
    said = STATUS | {"timestamp": stamp()}
    letter = sent(strict, device, SIREN, said)
    made = api(strict, "POST", "/templates", {"name": f"F2 {device.mac}", "type": "F2 controller"})
    api(strict, "PUT", f"/templates/{made['id']}/datapoints", {"items": [{"label": "J2/siren-1"}]})
    api(strict, "POST", "/devices", {"mac": device.mac, "template": made["name"]})
    answer = replayed(strict, str(letter["id"]))

    value = until(lambda: latest(strict, device.mac).get("J2/siren-1"), 10)
    assert letter["reason"] == "resolve.device_unknown"
    assert answer == {"replayed": 1, "refused": 0, "refused_ids": []}
    assert value["timestamp"] == said["timestamp"].replace(" ", "T") + "Z"
    assert letters(strict, device.mac) == []
    assert [one["id"] for one in letters(strict, device.mac, "replayed")] == [letter["id"]]


def test_a_sensor_that_nobody_plugged_in_is_stored_once_its_pin_is_set(strict, controller):
    letter = sent(strict, controller, SENT, {"timestamp": stamp(), "data": modbus(AIR)})
    sensor = plugged(strict, controller.mac, CLIMATE)
    replayed(strict, str(letter["id"]))

    until(lambda: latest(strict, sensor), 10)
    assert letter["reason"] == "resolve.sensor_unknown"
    assert values(strict, sensor) == {"temperature": 21.5, "humidity": 45.67, "co2": 1234.0}


def test_a_template_without_fields_is_mended_and_the_frame_is_read(strict, controller):
    made = template(strict)
    sensor = plugged(strict, controller.mac, made["name"])
    letter = sent(strict, controller, SENT, {"timestamp": stamp(), "data": modbus(AIR)})
    api(strict, "PUT", f"/templates/{made['id']}/datapoints", {"items": [TEMPERATURE]})
    replayed(strict, str(letter["id"]))

    until(lambda: latest(strict, sensor), 10)
    assert letter["reason"] == "resolve.template_has_no_fields"
    assert values(strict, sensor) == {"temperature": 21.5}


def test_a_template_that_reads_too_far_is_mended_and_the_frame_is_read(strict, controller):
    made = template(strict, TEMPERATURE | {"offset": 40})
    sensor = plugged(strict, controller.mac, made["name"])
    letter = sent(strict, controller, SENT, {"timestamp": stamp(), "data": modbus(AIR)})
    api(strict, "PUT", f"/templates/{made['id']}/datapoints", {"items": [TEMPERATURE]})
    replayed(strict, str(letter["id"]))

    until(lambda: latest(strict, sensor), 10)
    assert letter["reason"] == "decode.frame_short"
    assert values(strict, sensor) == {"temperature": 21.5}


def test_replay_by_reason_takes_every_letter_of_it_and_no_other(strict, controller):
    made = template(strict, TEMPERATURE | {"offset": 200})
    sensor = plugged(strict, controller.mac, made["name"])
    other = sent(strict, controller, SENT, {"timestamp": stamp(), "data": "not hex"})
    with as_device(strict, controller) as wire:
        for age_s in range(50):
            wire.publish(SENT.format(controller.mac), {"timestamp": stamp(age_s), "data": modbus(AIR)})
    until(lambda: len(letters(strict, controller.mac)) == 51, 10)
    api(strict, "PUT", f"/templates/{made['id']}/datapoints", {"items": [TEMPERATURE]})
    answer = replayed(strict, "--reason", "decode.frame_short")

    until(lambda: len(api(strict, "GET", f"/devices/{sensor}/readings")["items"]) == 50, 10)
    assert answer["replayed"] == 50
    assert letters(strict, controller.mac) == [other]


FRAME = modbus(AIR)
BAD = [
    (SENT, b"no json", "decode.payload_invalid"),
    (SENT, b"\xff\xfe", "decode.payload_invalid"),
    (SENT, b"", "decode.payload_invalid"),
    (SENT, [1, 2], "decode.payload_invalid"),
    (SENT, {"data": 5}, "decode.payload_invalid"),
    (SENT, {"data": "zz 03"}, "decode.hex_invalid"),
    (SENT, {"data": "01 03"}, "decode.frame_length"),
    (SENT, {"data": FRAME[:-2] + ("00" if FRAME[-2:] != "00" else "01")}, "decode.crc_mismatch"),
    (SENT, {"data": FRAME, "timestamp": "yesterday"}, "reading.timestamp_invalid"),
    (SENT, {"data": FRAME, "timestamp": "1970-01-01 00:00:00.000000"}, "reading.too_old"),
    (SENT, {"data": FRAME, "timestamp": "2999-01-01 00:00:00.000000"}, "reading.in_future"),
    (SENT, {"value": None, "sensor_id": "temperature"}, "reading.value_missing"),
    (SENT, b'{"value": 1e999, "sensor_id": "temperature"}', "decode.payload_invalid"),
    (SENT, {"value": 1, "sensor_id": ""}, "decode.sensor_id_invalid"),
    ("tele/f2-{}/access-control-mode/J1/door-sensors", {}, "reading.value_missing"),
    ("tele/f2-{}/access-control-mode/J1/reader-1", {"data": "x\0y"}, "reading.text_invalid"),
    ("tele/f2-{}/access-control-mode/J1/reader-1", {"data": "x" * 1024}, "decode.payload_invalid"),
    ("stat/f2-{}/alarm-mode/J2/siren-1", {"status": "on"}, "decode.payload_invalid"),
    ("tele/f2-{}/alarm-mode/J5/siren-1", STATUS, "decode.topic_unknown"),
    ("tele/f2-{}/garden-mode/J1/gnome-1", STATUS, "decode.topic_unknown"),
]  # fmt: skip


@pytest.fixture(scope="module")
def climate(strict, tmp_path_factory):
    """A registered controller with a sensor on its first pin."""
    identity = enrolled(strict, tmp_path_factory.mktemp("climate"))
    api(strict, "POST", "/devices", {"mac": identity.mac, "template": "F2 controller"})
    plugged(strict, identity.mac, CLIMATE)
    return identity


@pytest.mark.parametrize(("topic", "payload", "reason"), BAD)
def test_a_bad_message_is_kept_whole_with_its_reason(strict, climate, topic, payload, reason):
    if_told = {"timestamp": stamp()} | payload if isinstance(payload, dict) else payload
    letter = sent(strict, climate, topic, if_told)
    whole = api(strict, "GET", f"/dead-letters/{letter['id']}")

    assert letter["reason"] == reason
    assert letter["topic"] == topic.format(climate.mac)
    assert isinstance(payload, bytes) is (bytes.fromhex(whole["payload_hex"]) == payload)
    assert letter["payload_bytes"] == len(bytes.fromhex(whole["payload_hex"]))


def test_good_messages_between_bad_ones_are_all_stored(strict, climate):
    sensor = api(strict, "GET", f"/devices/{climate.mac}")["connectors"][0]["pins"][0]["device_id"]
    topic, before = SENT.format(climate.mac), len(letters(strict, climate.mac))
    with as_device(strict, climate) as wire:
        for number in range(100):
            wire.publish(topic, {"timestamp": stamp(3600 + number), "data": FRAME})
            wire.publish(topic, b'{"data": "' + b"[" * number)
    asked = {"from": "-2h", "to": "-30m", "datapoint": "co2"}

    until(lambda: len(api(strict, "GET", f"/devices/{sensor}/readings", **asked)["items"]) == 100, 10)
    until(lambda: len(letters(strict, climate.mac)) == before + 100, 10)


def test_a_letter_that_still_fails_comes_back_and_goes_round_once(strict, controller):
    letter = sent(strict, controller, SENT, b"still no json")
    first = replayed(strict, str(letter["id"]))
    [again] = until(lambda: letters(strict, controller.mac), 10)

    assert first["replayed"] == 1
    assert again["id"] > letter["id"]
    assert again["reason"] == letter["reason"]


def test_an_unknown_gateway_reading_waits_for_its_external_key(strict):
    name = f"pump-{fresh_mac()}"
    with as_service(strict) as wire:
        wire.publish(f"sensor/{name}/pressure", {"timestamp": stamp(), "value": 61.5})
    letter = until(lambda: letters(strict, name), 10)[0]
    made = api(strict, "POST", "/templates", {"name": name, "type": "Generic"})
    api(strict, "PUT", f"/templates/{made['id']}/datapoints", {"items": [{"label": "pressure"}]})
    api(strict, "POST", "/devices", {"external_key": name, "template": name})
    replayed(strict, str(letter["id"]))

    until(lambda: latest(strict, name), 10)
    assert letter["reason"] == "resolve.device_unknown"
    assert values(strict, name) == {"pressure": 61.5}


def test_purge_deletes_for_good_and_only_what_it_was_told(strict, controller):
    kept = sent(strict, controller, SENT, b"kept")
    gone = sent(strict, controller, SENT, b"gone")
    done = said_json(strict, "dead-letters", "purge", str(gone["id"]), "--yes")

    shown = said_json(strict, "dead-letters", "show", str(kept["id"]))

    assert done == {"deleted": 1}
    assert shown.items() >= kept.items()
    assert shown["payload_text"] == "kept"
    assert letters(strict, controller.mac) == [kept]
    assert iotistic(strict, "dead-letters", "show", str(gone["id"])).returncode == 4


def test_the_counts_by_reason_agree_with_the_list(strict, climate):
    sent(strict, climate, SENT, b"one more")
    counts = said_json(strict, "dead-letters")
    listed = said_json(strict, "dead-letters", "list", "--limit", "1000")

    assert counts["open"] == len(listed) == sum(item["open"] for item in counts["items"])
    assert {item["reason"] for item in counts["items"] if item["open"]} == {
        letter["reason"] for letter in listed
    }
