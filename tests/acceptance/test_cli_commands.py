"""Every command of the command line against a running installation."""

import csv
import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from installation_process import eventually, started

pytestmark = [pytest.mark.timeout(240)]

DEVICES = 2


@pytest.fixture(scope="module")
def up():
    with tempfile.TemporaryDirectory(prefix="iotistic-cli-") as folder:
        Path(folder).chmod(0o755)
        with started(Path(folder) / "home", "--simulate", str(DEVICES)) as up:
            eventually(lambda: values_of(up), within_s=60, what="a sensor has values")
            yield up


def answer(up, *arguments):
    ended = up.run(*arguments)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def sensors(up):
    return [device for device in answer(up, "devices", "--json") if not device["is_controller"]]


def values_of(up):
    return [device for device in sensors(up) if device["last_seen"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("doctor",),
        ("watch", "--once"),
        ("devices",),
        ("devices", "list", "--search", "aabb"),
        ("devices", "show", "1"),
        ("query", "1", "J1/door-sensor-1"),
        ("ledger",),
        ("ledger", "show", "--missing"),
        ("ledger", "receipts", "--from", "-1d"),
        ("dead-letters",),
        ("dead-letters", "summary"),
        ("dead-letters", "list", "--state", "all"),
        ("dead-letters", "replay", "--all"),
        ("dead-letters", "purge", "--all", "--yes"),
        ("cert", "list"),
        ("db", "status"),
        ("version",),
    ],
    ids=" ".join,
)
def test_every_command_answers_with_json_for_programs(up, arguments):
    ended = up.run(*arguments, "--json")

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) is not None


@pytest.mark.parametrize(
    "arguments", [("status",), ("doctor",), ("devices",), ("ledger",), ("dead-letters",), ("db", "status")]
)
def test_the_same_commands_answer_in_words_for_people(up, arguments):
    ended = up.run(*arguments)

    assert ended.returncode == 0
    assert ended.stdout.strip()
    assert not ended.stdout.startswith(("{", "["))


def test_a_simulated_sensor_is_listed_shown_and_queried(up):
    sensor = values_of(up)[0]
    shown = answer(up, "devices", "show", str(sensor["id"]), "--json")
    series = answer(up, "query", str(sensor["id"]), "temperature", "--from", "-5m", "--json")

    assert {value["label"] for value in shown["latest"]} == {"temperature", "humidity", "co2"}
    assert series["series"][0]["buckets"][0]["count"] >= 1


def test_a_controller_is_shown_with_the_values_of_the_sensors_on_its_pins(up):
    controller = next(one for one in answer(up, "devices", "--json") if one["mac"])
    shown = answer(up, "devices", "show", controller["mac"], "--json")
    pins = {pin["device_id"] for connector in shown["connectors"] for pin in connector["pins"]}

    assert pins & {value["device_id"] for value in shown["latest"]}


def senders_when_whole(up):
    """How many senders the ledger knows; none of them while something is missing."""
    ended = up.run("ledger", "--check", "--json")
    return 0 if ended.returncode else json.loads(ended.stdout)["totals"]["senders"]


def test_the_ledger_knows_that_nothing_of_the_simulated_controllers_is_missing(up):
    whole = ("ledger", "--check", "--json")
    eventually(lambda: senders_when_whole(up) == DEVICES, within_s=60, what="nothing is missing of any")
    mac = next(one["mac"] for one in answer(up, "devices", "--json") if one["mac"])
    told = answer(up, *whole, "--device", mac)

    assert [item["device_name"] is not None for item in told["items"]] == [True]
    assert told["totals"]["stored"] >= 1


def test_a_series_is_a_chart_for_people_and_csv_for_spreadsheets(up):
    sensor = str(values_of(up)[0]["id"])
    chart = up.run("query", sensor, "temperature", "--from", "-5m").stdout
    table = up.run("query", sensor, "temperature", "--from", "-5m", "--csv").stdout

    rows = list(csv.DictReader(io.StringIO(table)))
    assert "█" in chart
    assert datetime.fromisoformat(rows[0]["time"]) < datetime.now(UTC)


def test_the_doctor_finds_nothing_wrong_with_a_fresh_installation(up):
    findings = answer(up, "doctor", "--json")["findings"]

    assert {finding["check"] for finding in findings} >= {
        "clock",
        "disk",
        "broker",
        "database",
        "certificate ca",
    }
    assert {finding["state"] for finding in findings} <= {"ok", "warning"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("devices", "show", "no-such-device"), 4),
        (("query", "1", "no-such-datapoint"), 4),
        (("query", "1", "J1/door-sensor-1", "--from", "yesterday"), 2),
        (("ledger", "--device", "no-such-device"), 4),
        (("ledger", "--from", "yesterday"), 2),
        (("ledger", "verify", "no-such-file"), 2),
        (("dead-letters", "show", "999999"), 4),
        (("dead-letters", "purge", "--all"), 2),
        (("bench", "no-such-benchmark"), 4),
        (("devices", "--limit", "many"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_refusal_has_its_documented_exit_code_and_one_line_that_says_why(up, arguments, code):
    ended = up.run(*arguments)

    assert ended.returncode == code
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr


def test_a_wrong_token_is_refused_and_the_command_says_where_the_right_one_is(up):
    ended = up.run("devices", IOTISTIC_API_URL=up.ready["api"], IOTISTIC_API_TOKEN="iot_wrong")

    assert ended.returncode == 3
    assert "api-token" in ended.stderr


def test_the_token_of_the_ready_line_opens_the_api_and_nothing_else_does(up):
    url = f"{up.ready['api']}/api/v1/telemetry/stats"
    right = httpx2.get(url, headers={"Authorization": f"Bearer {up.ready['token']}"})

    assert right.status_code == 200
    assert httpx2.get(url).status_code == 401


def test_no_log_and_no_process_shows_the_token_or_a_password(up):
    secrets = [path.read_text().strip() for path in (up.home / "secrets").iterdir() if path.is_file()]
    logs = "".join(path.read_text(errors="replace") for path in (up.home / "logs").glob("*.log"))
    arguments = "".join(up.children().values())

    assert [secret for secret in secrets if secret in logs or secret in arguments] == []
