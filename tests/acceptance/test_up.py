"""The shipped `iotistic up`, as a process."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from installation_process import Up, command_environment, eventually, processes_of, run_command, started

from iotistic.kernel.home import Home
from iotistic.kernel.postgres.claim import running_dsn
from iotistic.kernel.postgres.pool import open_connection

pytestmark = [pytest.mark.timeout(240)]


@pytest.fixture
def home():
    with a_home() as made:
        yield made


@contextlib.contextmanager
def a_home():
    with tempfile.TemporaryDirectory(prefix="iotistic-up-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


@pytest.fixture(scope="module")
def running():
    """An installation whose port of the API was taken; starting one takes longest of all that is done here."""
    with a_home() as home, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with started(home, "--api-port", str(port)) as up:
            up.taken_port = port
            yield up


@dataclass
class Lives:
    """Three lives of one installation: with two workers to SIGINT, with one to kill -9, with one to SIGTERM."""

    home: Path
    first: Up
    second: Up
    third: Up
    codes: list[int]
    left: list[dict[int, str]]
    status: subprocess.CompletedProcess[str]
    endpoints: list[bool]


@pytest.fixture(scope="module")
def lives():
    with a_home() as home:
        codes, left, endpoints = [], [], []

        def ended(up, number):
            codes.append(up.stop(number))
            left.append(processes_of(home))
            endpoints.append((home / "run" / "endpoints.json").exists())

        with started(home, "--workers", "2") as first:
            ended(first, signal.SIGINT)
        with started(home, API_PORT="", PKI_PORT="", MQTT_PORT="") as second:
            second.process.kill()
            second.process.wait(10)
            eventually(lambda: not processes_of(home), what="no process is left")
            status = second.run("status")
        with started(home, API_PORT="", PKI_PORT="", MQTT_PORT="") as third:
            ended(third, signal.SIGTERM)
        yield Lives(home, first, second, third, codes, left, status, endpoints)


def test_ready_is_one_line_of_json_with_everything_a_script_needs(lives):
    up, home = lives.first, lives.home

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


def test_a_signal_ends_it_with_exit_code_0_and_no_process_is_left(lives):
    assert lives.codes == [0, 0]
    assert lives.left == [{}, {}]
    assert lives.endpoints == [False, False]


def test_kill_9_leaves_no_process_behind_and_the_next_start_is_clean(lives):
    assert lives.status.returncode == 6
    assert "nothing is running" in lives.status.stderr
    assert lives.third.ready["token"] == lives.first.ready["token"]


def test_a_second_start_takes_less_than_5_s_and_keeps_token_ports_and_identity(lives, record_property):
    second = lives.second

    record_property("second_start_s", round(second.seconds, 2))
    sys.stderr.write(f"second start: {second.seconds:.2f} s\n")
    # The owner's password is told once.
    assert second.ready == {name: said for name, said in lives.first.ready.items() if name != "owner"}
    # The promise is 5 s; the bound leaves room for a machine that runs other tests beside this one.
    assert second.seconds < 30


def test_fewer_workers_than_before_retires_the_ones_that_are_no_more(lives):
    assert "retiring worker 1" in "".join(lives.second.errors)
    assert json.loads((lives.home / "up.json").read_text())["workers"] == 1


def test_a_second_up_on_the_same_home_is_refused_and_says_who_has_it(running):
    second = running.run("up", "--plain")

    assert second.returncode == 5
    assert f"process {running.process.pid}" in second.stderr


def test_taken_ports_give_way_to_free_ones_and_are_said(running):
    answer = running.run("status", "--json")

    assert answer.returncode == 0
    assert not running.ready["api"].endswith(f":{running.taken_port}")
    assert f"port {running.taken_port} is taken" in "".join(running.errors)


def test_its_processes_reach_the_database_over_the_socket_and_nobody_over_tcp(running):
    with asyncio.Runner() as runner:
        over_tcp = runner.run(connected(running_dsn(Home(running.home))))

    assert len(over_tcp) > 5
    assert not any(over_tcp)


async def connected(dsn):
    """Return of each client of the server, but the one that asks, whether it came over TCP."""
    connection = await open_connection(dsn, application_name="test")
    try:
        sql = "SELECT client_addr IS NOT NULL FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return [row[0] for row in await connection.fetch(sql)]
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "victim", ["-m iotistic api", "-m iotistic control", "postgres -D", "mosquitto -c", "ingest --worker 0"]
)
def test_a_child_that_is_killed_is_started_again(running, victim):
    before = next(pid for pid, line in running.children().items() if victim in line)
    os.kill(before, signal.SIGKILL)

    eventually(
        lambda: any(victim in line and pid != before for pid, line in running.children().items()),
        what=f"{victim} runs again",
    )
    urls = json.loads((running.home / "run" / "endpoints.json").read_text())["health"].values()
    eventually(lambda: all(is_ready(url) for url in urls), within_s=60, what="all are ready again")
    eventually(lambda: running.run("status").returncode == 0, within_s=60, what="all are healthy again")


def is_ready(url):
    try:
        return httpx2.get(url, verify=False).is_success
    except httpx2.HTTPError:
        return False


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
