"""The shipped `iotistic up`, as a process."""

import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from installation_process import command_environment, eventually, processes_of, run_command, started

pytestmark = [pytest.mark.timeout(240)]


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="iotistic-up-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


def test_ready_is_one_line_of_json_with_everything_a_script_needs(home):
    with started(home) as up:
        up.stop()

    assert up.ready.keys() == {"ready", "home", "api", "token", "mqtt", "pki", "ca", "owner"}
    assert up.ready["owner"].keys() == {"username", "password"}
    assert up.ready["ready"] is True
    assert up.ready["home"] == str(home)
    assert up.ready["token"] == (home / "secrets" / "api-token").read_text().strip()
    assert up.ready["api"].startswith("http://127.0.0.1:")
    assert up.ready["mqtt"].startswith("mqtts://127.0.0.1:")
    assert up.ready["pki"].startswith("https://127.0.0.1:")
    assert "BEGIN CERTIFICATE" in Path(up.ready["ca"]).read_text()
    assert up.further_output == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_it_with_exit_code_0_and_no_process_is_left(home, number):
    with started(home, "--workers", "2") as up:
        assert len(up.children()) > 5

        assert up.stop(number) == 0

    assert processes_of(home) == {}
    assert not (home / "run" / "endpoints.json").exists()


def test_kill_9_leaves_no_process_behind_and_the_next_start_is_clean(home):
    with started(home) as up:
        up.process.kill()
        up.process.wait(10)
        eventually(lambda: not processes_of(home), what="no process is left")
        said = up.run("status")

    assert said.returncode == 6
    assert "nothing is running" in said.stderr
    with started(home) as again:
        assert again.ready["token"] == up.ready["token"]


def test_a_second_start_takes_less_than_5_s_and_keeps_token_ports_and_identity(home, record_property):
    with started(home) as first:
        first.stop()
    with started(home, API_PORT="", PKI_PORT="", MQTT_PORT="") as second:
        second.stop()

    record_property("second_start_s", round(second.seconds, 2))
    sys.stderr.write(f"second start: {second.seconds:.2f} s\n")
    # The owner's password is told once.
    assert first.ready.pop("owner")
    assert second.ready == first.ready
    # The promise is 5 s; the bound leaves room for a machine that runs other tests beside this one.
    assert second.seconds < 30


def test_a_second_up_on_the_same_home_is_refused_and_says_who_has_it(home):
    with started(home) as up:
        second = up.run("up", "--plain")

    assert second.returncode == 5
    assert f"process {up.process.pid}" in second.stderr


def test_taken_ports_give_way_to_free_ones_and_are_said(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with started(home, "--api-port", port) as up:
            answer = up.run("status", "--json")

    assert answer.returncode == 0
    assert not up.ready["api"].endswith(f":{port}")
    assert f"port {port} is taken" in "".join(up.errors)


@pytest.mark.parametrize(
    "victim", ["-m iotistic api", "-m iotistic control", "postgres -D", "mosquitto -c", "ingest --worker 0"]
)
def test_a_child_that_is_killed_is_started_again(home, victim):
    with started(home) as up:
        before = next(pid for pid, line in up.children().items() if victim in line)
        os.kill(before, signal.SIGKILL)

        eventually(
            lambda: any(victim in line and pid != before for pid, line in up.children().items()),
            what=f"{victim} runs again",
        )
        eventually(lambda: up.run("status").returncode == 0, within_s=60, what="all are healthy again")
        assert up.stop() == 0


def test_fewer_workers_than_before_retires_the_ones_that_are_no_more(home):
    with started(home, "--workers", "2") as up:
        up.stop()
    with started(home) as up:
        up.stop()

    assert "retiring worker 1" in "".join(up.errors)
    assert json.loads((home / "up.json").read_text())["workers"] == 1


def test_a_setting_that_makes_no_sense_is_refused_by_name_before_anything_starts(home):
    environment = command_environment(home, API_PORT="0", PKI_PORT="0", MQTT_PORT="0", DATABASE_URL="x://y")

    ended = run_command("up", "--plain", environment=environment)

    assert ended.returncode == 2
    assert "DATABASE_URL" in ended.stderr


def test_an_installation_that_cannot_start_ends_with_the_reason_and_leaves_no_process(home):
    unreachable = "postgresql://nobody@127.0.0.1:1/none"
    environment = command_environment(
        home, API_PORT="0", PKI_PORT="0", MQTT_PORT="0", DATABASE_URL=unreachable
    )

    ended = run_command("up", "--plain", environment=environment)

    assert ended.returncode == 6
    assert "the database cannot be reached" in ended.stderr
    assert ended.stdout == ""
    assert processes_of(home) == {}
