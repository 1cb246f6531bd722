"""`iotistic simulate f2` as a command: what it says it published is what the installation stored."""

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fault_tools import site, until
from outside_tools import (
    FREE_PORTS,
    TELEMETRY,
    api,
    as_service,
    ask,
    iotistic,
    latest,
    said_json,
)

CONTROLLERS = 4
FIRST_MAC = 0xAABBCCDDEE01
SENSORS = 8
ONE_PER_MESSAGE = ("temperature", "door-sensor-1", "exit-button-1", "strike-", "siren-", "motion-sensor-")
"""Each kind of message makes exactly one row of one of these labels; a card makes one event."""


@pytest.fixture(scope="module")
def running():
    with site("--workers", "2", **FREE_PORTS) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(running):
    """What the command said after one run."""
    return simulated(running)


def simulated(running, *options, interval="1", duration="5"):
    options = ("--interval", interval, "--duration", duration, *options)
    done = iotistic(running, "simulate", "f2", "--controllers", str(CONTROLLERS), *options, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(running, device, **asked):
    """Return every stored reading of a device as (label, time, value), oldest first."""
    path = f"{TELEMETRY}/devices/{device}/readings?format=csv&order=asc&from=-1h&to=%2B1h"
    answer = ask(running.ready["api"], path, token=running.ready["token"])
    assert answer.status == 200, answer.body
    table = csv.DictReader(io.StringIO(answer.body.decode()))
    return [(row["label"], row["timestamp"], float(row["value"])) for row in table]


def devices(running):
    return api(running, "GET", "/devices", limit="1000")["items"]


def stored_messages(running):
    """Count messages by what they left: rows, events and dead letters."""
    found = Counter()
    for device in devices(running):
        for label, _, _ in rows(running, device["id"]):
            found["rows"] += label.rpartition("/")[2].startswith(ONE_PER_MESSAGE)
        if device["is_controller"]:
            asked = {"from": "-1h", "to": "+1h", "limit": "10000"}
            found["events"] += len(api(running, "GET", f"/devices/{device['id']}/events", **asked)["items"])
    found["dead_letters"] = api(running, "GET", "/dead-letters/summary")["open"]
    return sum(found.values())


@pytest.mark.parametrize("payload", ["modbus", "json"])
def test_everything_acknowledged_is_stored_once_and_nothing_is_a_dead_letter(running, payload):
    before = stored_messages(running)
    told = simulated(running, "--payload", payload)

    until(lambda: stored_messages(running) == before + told["acknowledged"], 10,
          lambda: f"{stored_messages(running) - before} stored of {told}")  # fmt: skip
    assert (told["controllers"], told["connection_failures"]) == (CONTROLLERS, {})
    assert told["published"] == told["acknowledged"] >= CONTROLLERS * SENSORS * 3
    assert (told["unacknowledged"], told["skipped"], told["refused"]) == (0, 0, {})
    assert api(running, "GET", "/dead-letters/summary")["open"] == 0


def test_the_fleet_is_what_the_contract_describes(running, fleet):
    controllers = {device["mac"]: device for device in devices(running) if device["is_controller"]}
    first = api(running, "GET", "/devices/aa:bb:cc:dd:ee:01")
    pins = {
        (one["number"], seat["pin"]): seat["device_id"] for one in first["connectors"] for seat in one["pins"]
    }

    assert {f"aa:bb:cc:dd:ee:0{number}" for number in range(1, CONTROLLERS + 1)} <= controllers.keys()
    assert len(pins) == SENSORS
    assert set(latest(running, next(iter(pins.values())))) >= {"temperature", "humidity", "co2"}
    assert {label.rpartition("/")[2] for label in latest(running, "aabbccddee01")} >= {
        *("strike-1", "strike-2", "door-sensor-1", "door-sensor-2", "exit-button-1", "exit-button-2"),
        *("siren-1", "siren-2", *(f"motion-sensor-{number}" for number in range(1, 6))),
    }


def air(running, since):
    """Return the CO2 that each sensor measured after `since` rows, in order: no clock goes into it."""
    return {
        device["id"]: [value for label, _, value in rows(running, device["id"]) if label == "co2"][
            since.get(device["id"], 0) :
        ]
        for device in devices(running)
        if not device["is_controller"]
    }


def measured(running, seed):
    """Return the first three measurements of each sensor in a run of its own."""
    before = {device: len(values) for device, values in air(running, {}).items()}
    simulated(running, "--seed", str(seed), interval="0.5", duration="2.5")
    found = until(
        lambda: (now := air(running, before)) and all(len(one) >= 3 for one in now.values()) and now, 10
    )
    return {device: values[:3] for device, values in found.items()}


def test_a_seeded_run_repeats_and_another_seed_is_another_run(running):
    first, again, other = (measured(running, seed) for seed in (7, 7, 8))

    repeated = {device: values for device, values in again.items() if device in first}
    assert len(first) == CONTROLLERS * SENSORS
    assert repeated == first
    assert other != first


def test_a_command_is_obeyed_and_answered(running):
    command = [Path(sys.executable).with_name("iotistic"), "simulate", "f2", "--controllers", "1"]
    environment = {**os.environ, "IOTISTIC_HOME": str(running.home)}
    topic = "cmnd/f2-aabbccddee01/access-control-mode/J1/strike-2"
    with as_service(running) as service, subprocess.Popen(
        [*command, "--interval", "1", "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as fleet:  # fmt: skip
        service.subscribe("stat/#")
        service.subscribe("tele/#")
        until(lambda: any("sensor-mode" in told for told, _ in service.received), 20)
        del service.received[:]
        service.publish(topic, {"power-flag": 2, "period": 1})
        answers = until(lambda: _answers(service, topic)[1:], 10) and _answers(service, topic)
        fleet.terminate()
        said, _ = fleet.communicate(timeout=20)

    assert [answer["status"] for answer in answers][:2] == [True, False]
    assert json.loads(said)["commands"] == 1
    assert fleet.returncode == 0
    until(lambda: latest(running, "aabbccddee01").get("J1/strike-2"), 5)


def _answers(service, topic):
    answer = topic.replace("cmnd/", "stat/")
    return [json.loads(payload) for told, payload in list(service.received) if told == answer]


def test_the_terminal_lists_the_fleet_and_the_doctor_finds_all_well(running, fleet):
    listed = said_json(running, "devices", "list")
    watched = iotistic(running, "watch", "--once")

    assert len([device for device in listed if device["is_controller"]]) == CONTROLLERS
    assert said_json(running, "doctor")["healthy"] is True
    assert said_json(running, "status")
    assert watched.returncode == 0
    assert "temperature" in watched.stdout


def test_both_workers_have_a_share_of_the_stream(running, fleet):
    workers = [one for one in api(running, "GET", "/stats")["workers"] if "backlog" not in one["worker"]]

    assert len(workers) == 2
    assert all(worker["rows_total"] > 0 for worker in workers)
