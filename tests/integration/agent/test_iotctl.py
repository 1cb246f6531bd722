"""Every verb of iotctl against an agent that runs as a process of its own."""

import json
import os
import re
import subprocess
import sys

import pytest
from device_processes import agent_process, until

from iotistic.agent.reconcile.locks import FileLocks
from iotistic.entrypoints.iotctl.main import main

SETTLED_WITHIN_S = 30


@pytest.fixture
def agent(tmp_path, monkeypatch):
    with agent_process(tmp_path / "agent") as running:
        speak_to(running, tmp_path, monkeypatch)
        yield running


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """An agent that tests only look at."""
    with agent_process(tmp_path_factory.mktemp("untouched") / "agent") as running:
        yield running


def speak_to(agent, home, monkeypatch):
    monkeypatch.setenv("IOTISTIC_HOME", str(home))
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.setenv("DEVICE_API_URL", agent.url)


@pytest.fixture
def ctl(agent, capsys):
    """Run a verb; return its code, output and errors."""
    return verbs(capsys)


@pytest.fixture
def look(untouched, tmp_path, monkeypatch, capsys):
    """Run a verb that changes nothing."""
    speak_to(untouched, tmp_path, monkeypatch)
    return verbs(capsys)


def verbs(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    until(lambda: run("status")[1].count("running") >= 6 and '"settled": true' in run("plan", "--json")[1])
    return run


def as_json(result):
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def statuses(ctl):
    return {one["serviceName"]: one["status"] for one in as_json(ctl("services", "list", "--json"))}


RUNNING = {"web": "running", "db": "running", "cache": "running"}
STOPPED = dict.fromkeys(RUNNING, "exited")


def test_status_says_how_the_device_is(look):
    code, out, _ = look("status")
    found = as_json(look("status", "--json"))

    assert code == 0
    assert re.search(r"agent +1\.2\.3", out)
    assert (found["healthy"], found["device"]["settled"], len(found["services"])) == (True, True, 3)


@pytest.mark.parametrize("verb", ["diagnostics", "diag"])
def test_diagnostics_show_every_part(look, verb):
    code, out, _ = look(verb)
    found = as_json(look(verb, "--json"))

    assert code == 0
    assert "cloud:" in out
    assert "memory total" in out
    assert found["parts"]["cloud"]["status"] == "online"


def test_plan_says_that_nothing_is_to_be_done(look):
    assert look("plan")[:2] == (0, "nothing is to be done\n")


def test_version_and_help_are_told_without_an_agent_too(look, monkeypatch):
    found = as_json(look("version", "--json"))
    assert found["agent"] == "1.2.3"
    monkeypatch.setenv("DEVICE_API_URL", "http://127.0.0.1:9")
    assert as_json(look("version", "--json"))["agent"] is None
    for arguments in (("help",), (), ("--help",)):
        code, out, _ = look(*arguments)
        assert code == 0
        for verb in ("apps", "config", "deprovision", "diagnostics", "factory-reset", "logs", "plan"):
            assert verb in out
    assert "--api" in look("help", "provision")[1]
    assert "--force" in look("help", "services", "stop")[1]


def test_apps_are_listed_shown_stopped_started_restarted_and_purged(ctl):
    before = {one["containerId"] for one in as_json(ctl("services", "list", "--json"))}
    assert "shop" in ctl("apps", "list")[1]
    assert "web:1" in ctl("apps", "info", "shop")[1]
    assert [one["appId"] for one in as_json(ctl("apps", "--json"))] == [7]
    assert as_json(ctl("apps", "info", "7", "--json"))["appName"] == "shop"
    assert as_json(ctl("apps", "stop", "shop", "--json"))["done"]
    assert statuses(ctl) == STOPPED
    code, out, _ = ctl("apps", "start", "7")
    assert (code, out.count("running"), statuses(ctl)) == (0, 6, RUNNING)
    assert ctl("apps", "restart", "shop")[0] == 0
    assert {one["containerId"] for one in as_json(ctl("services", "list", "--json"))} == before
    assert ctl("apps", "purge", "shop")[0] == 5
    assert ctl("apps", "purge", "shop", "--yes")[0] == 0
    assert statuses(ctl) == RUNNING


def test_services_are_listed_shown_stopped_paused_started_and_restarted(ctl):
    assert ctl("services", "list")[1].count("running") == 6
    assert ctl("services", "list", "shop")[1] == ctl("services")[1]
    assert ctl("services", "stop", "web")[0] == 0
    assert statuses(ctl) == RUNNING | {"web": "exited"}
    assert "stopped (here; cloud: running)" in ctl("services", "list")[1]
    assert as_json(ctl("services", "info", "web", "--json"))["cloudState"] == "running"
    assert "exited" in ctl("services", "info", "1", "--app", "shop")[1]
    assert ctl("services", "start", "web")[0] == 0
    assert ctl("services", "pause", "db", "--app", "7")[0] == 0
    assert statuses(ctl)["db"] == "paused"
    assert ctl("services", "restart", "db")[0] == 0
    assert statuses(ctl) == RUNNING


def test_an_app_that_holds_its_lock_is_a_conflict_that_force_ends(ctl, tmp_path):
    (FileLocks(tmp_path / "agent/locks").folder("7") / "updates.lock").touch()
    code, _, err = ctl("services", "stop", "web", "--json")

    assert code == 5
    assert json.loads(err)["error"]["code"] == "reconcile.lock_held"
    assert ctl("services", "stop", "web", "--force")[0] == 0


def test_what_is_not_done_in_time_ends_with_1(ctl):
    code, out, _ = ctl("services", "restart", "web", "--wait", "0")

    assert code == 1
    assert "waiting: " in out


def test_logs_are_shown_of_everything_and_of_one_service(ctl):
    assert "web: web line 0" in ctl("logs")[1]
    assert ctl("logs", "-n", "1")[1].count("\n") == 1
    of_db = ctl("services", "logs", "db")[1]
    assert of_db.count("db: db line") == 3
    assert "web" not in of_db
    lines = ctl("logs", "--json", "--lines", "5")[1].splitlines()
    assert all("message" in json.loads(line) for line in lines)


@pytest.mark.parametrize(
    "arguments", [("logs", "-f", "-n", "2"), ("services", "logs", "web", "--follow", "--json")]
)
def test_logs_are_followed_until_they_are_interrupted(look, arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "iotistic.entrypoints.iotctl", *arguments],
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    try:
        seen = [process.stdout.readline().decode() for _ in range(8)]
        process.send_signal(2)
        code = process.wait(20)
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()

    ticks = [int(found[1]) for line in seen if (found := re.search(r"tick (\d+)", line))]
    assert len(ticks) >= 4
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
    assert code == 130


def test_settings_are_shown_changed_and_put_back(ctl):
    assert "POLL_INTERVAL_MS" in ctl("config", "show")[1]
    assert ctl("config", "get", "POLL_INTERVAL_MS")[1] == "5000\n"
    code, out, _ = ctl("config", "set", "POLL_INTERVAL_MS", "7000")
    assert (code, "after `iotctl restart`: POLL_INTERVAL_MS" in out) == (0, True)
    assert as_json(ctl("config", "get", "poll_interval_ms", "--json"))["source"] == "local"
    assert ctl("config", "set-api", "https://cloud.example/")[0] == 0
    assert ctl("config", "get-api")[1] == "https://cloud.example\n"
    assert ctl("config", "reset", "POLL_INTERVAL_MS")[0] == 0
    assert ctl("config", "get", "POLL_INTERVAL_MS")[1] == "5000\n"
    assert ctl("config", "reset")[0] == 5
    assert as_json(ctl("config", "reset", "--yes", "--json"))["changed"] == ["CLOUD_API_ENDPOINT"]
    assert as_json(ctl("config", "show", "--json"))["CLOUD_API_ENDPOINT"]["source"] == "default"
    assert ctl("config", "set", "LOG_LEVEL", "loud")[0] == 2
    assert ctl("config", "get", "NOTHING")[0] == 4


def test_the_device_comes_into_a_fleet_and_leaves_it(ctl, monkeypatch):
    assert as_json(ctl("provision", "status", "--json"))["provisioned"] is False
    code, out, _ = ctl(
        "provision", "key-1", "--api", "https://cloud.example", "--name", "pump", "--type", "pi4"
    )
    assert code == 0
    assert "key-1" not in out
    found = as_json(ctl("provision", "status", "--json"))
    assert (found["provisioned"], found["deviceName"]) == (True, "pump")
    code, _, err = ctl("provision", "key-1", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (5, "provisioning.already_provisioned")
    assert ctl("deprovision")[0] == 0
    assert re.search(r"provisioned +no", ctl("provision", "status")[1])


def test_a_provisioning_key_is_read_from_standard_input(ctl, agent):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "iotistic.entrypoints.iotctl",
            "provision",
            "-",
            "--api",
            "https://cloud.example",
            "--json",
        ],
        input=b"key-2\n",
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["provisioned"] is True


def test_a_factory_reset_asks_first(ctl):
    code, _, err = ctl("factory-reset")
    assert code == 5
    assert "--yes" in err
    assert as_json(ctl("factory-reset", "--yes", "--json"))["provisioned"] is False


def test_a_restart_lets_the_agent_end_and_the_containers_go_on(ctl, agent, tmp_path, monkeypatch):
    before = {one["containerId"] for one in as_json(ctl("services", "list", "--json"))}
    assert ctl("restart")[:2] == (0, "the agent starts anew\n")
    assert agent.process.wait(20) == 0
    with agent_process(tmp_path / "agent") as again:
        monkeypatch.setenv("DEVICE_API_URL", again.url)
        assert {one["containerId"] for one in as_json(ctl("services", "list", "--json"))} == before


def test_without_an_agent_it_says_where_it_looked_and_what_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("IOTISTIC_HOME", str(tmp_path))
    monkeypatch.setenv("DEVICE_API_PORT", "9")
    for arguments in (["status"], ["logs", "-f"], ["apps", "list"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        err = capsys.readouterr().err
        assert ended.value.code == 6
        assert "http://127.0.0.1:9" in err
        assert "fix: start it with" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["explode"], 2),
        (["apps", "explode"], 2),
        (["services", "stop"], 2),
        (["logs", "-n", "0"], 2),
        (["apps", "info", "nothing"], 4),
        (["services", "stop", "nothing/../web"], 4),
        (["services", "info", "web", "--app", "nothing"], 4),
    ],
)
def test_what_cannot_be_understood_or_is_not_there_has_its_code(look, arguments, code):
    found, out, err = look(*arguments)

    assert (found, out) == (code, "")
    assert err.startswith("error: ")


def test_the_key_comes_from_the_agents_folder_or_the_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("API_KEY", raising=False)
    with agent_process(tmp_path / "agent", 0, "API_KEY") as running:
        monkeypatch.setenv("DEVICE_API_URL", running.url + "/v1")
        monkeypatch.setenv("IOTISTIC_HOME", str(tmp_path))
        key = (tmp_path / "agent/device-api.key").read_text().strip()
        assert run_code(["apps", "list"]) == 0
        monkeypatch.setenv("IOTISTIC_HOME", str(tmp_path / "elsewhere"))
        assert run_code(["apps", "list"]) == 3
        assert "API_KEY" in capsys.readouterr().err
        monkeypatch.setenv("API_KEY", "a-wrong-key-of-someone")
        assert run_code(["apps", "list"]) == 3
        monkeypatch.setenv("API_KEY", key)
        assert run_code(["apps", "list"]) == 0


def run_code(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code or 0


def test_a_missing_part_is_told_with_how_to_install_it():
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from iotistic.entrypoints.iotctl.main import main\n"
        "main(['status'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 6
    assert "iotistic[agent]" in done.stderr
    assert "Traceback" not in done.stderr
