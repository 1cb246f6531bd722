"""`iotistic agent` as a program: a target in a file, containers simulated."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iotistic.kernel.process import pick_port

PROGRAM = Path(sys.executable).with_name("iotistic")
WITHIN_S = 20


def target(*images: str) -> dict[str, object]:
    services = [
        {
            "serviceId": number,
            "serviceName": f"service-{number}",
            "config": {"image": image, "networks": ["back"]},
        }
        for number, image in enumerate(images, 1)
    ]
    return {"apps": {"7": {"appId": 7, "appName": "shop", "services": services}}, "version": 1}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "target.json"
    path.write_text(json.dumps(target("web:1", "db:1")))
    return path


def agent(state: Path, *words: str) -> list[str]:
    verb, *rest = words
    return [str(PROGRAM), "agent", verb, str(state), "--engine", "simulated", *rest]


def environment(state: Path) -> dict[str, str]:
    return {**os.environ, "IOTISTIC_HOME": str(state.parent / "home"), "LOG_FORMAT": "json"}


def run(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        agent(state, *words), env=environment(state), capture_output=True, text=True, timeout=60, check=False
    )


def test_a_plan_says_what_would_be_done_and_why(state: Path) -> None:
    done = run(state, "plan", "--json")

    assert done.returncode == 0, done.stderr
    told = [(step["step"], step["subject"]) for step in json.loads(done.stdout)]
    assert told == [("createNetwork", "network back"), ("fetch", "image web:1"), ("fetch", "image db:1")]
    assert "service-1 needs it" in run(state, "plan").stdout


def test_once_brings_everything_up_and_says_how_it_stands(state: Path) -> None:
    done = run(state, "run", "--once", "--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["steps"] == []
    assert {service["status"] for service in told["apps"]["7"]["services"]} == {"running"}
    assert "service-2" in run(state, "run", "--once").stdout


def test_a_target_with_faults_is_refused_with_all_of_them(state: Path) -> None:
    document = target("web:1")
    document["apps"]["7"]["services"][0] |= {"privileged": True, "sttae": "running"}  # type: ignore[index]
    state.write_text(json.dumps(document))
    done = run(state, "run", "--once")

    assert done.returncode == 2
    assert "services[0].privileged: is a key of compose files that is not supported" in done.stderr
    assert "services[0].sttae: is not a key" in done.stderr


@pytest.mark.parametrize("content", ["", "[", "null", "[1]", '"x"', "\ufffd"])
def test_garbage_is_refused_with_the_files_name(state: Path, content: str) -> None:
    state.write_text(content)
    done = run(state, "plan")

    assert done.returncode == 2
    assert "target.json" in done.stderr


def test_docker_that_is_not_there_is_said_so(state: Path, tmp_path: Path) -> None:
    words = [str(PROGRAM), "agent", "run", str(state), "--engine", "docker", "--once"]
    away = {**environment(state), "DOCKER_SOCKET": str(tmp_path / "no.sock")}
    done = subprocess.run(words, env=away, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 6
    assert "no.sock" in done.stderr


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(state: Path) -> None:
    with running(state) as lines:
        lines.until("device.settled")
        state.write_text("{")
        lines.until("target.refused")
        state.write_text(json.dumps(target("web:2")))
        lines.until("image web:2")
        lines.until("device.settled")
        lines.process.send_signal(signal.SIGINT)
        said, _ = lines.process.communicate(timeout=WITHIN_S)

    assert lines.process.returncode == 0
    assert "web:2" in said
    assert "service-2" not in said


class Lines:
    """The log lines of a running agent."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log, self._read = process, log, 0

    def until(self, words: str) -> None:
        deadline = time.monotonic() + WITHIN_S
        while words not in (said := self._log.read_text()[self._read :]):
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        self._read += said.index(words) + len(words)


@contextlib.contextmanager
def running(state: Path, place: dict[str, str] | None = None):
    log = state.with_suffix(".log")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            agent(state, "run"),
            env=place or environment(state),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield Lines(process, log)
    finally:
        process.kill()
        process.communicate()


def test_an_agent_that_is_to_start_anew_stays_the_process_that_it_is(state: Path, tmp_path: Path) -> None:
    place = {
        **environment(state),
        "DEVICE_API_PORT": str(pick_port(0)),
        "CONFIG_DIR": str(tmp_path / "agent"),
    }
    iotctl = [str(PROGRAM.with_name("iotctl")), "restart"]
    with running(state, place) as lines:
        lines.until("device.settled")
        asked = subprocess.run(iotctl, env=place, capture_output=True, text=True, timeout=60, check=False)
        assert asked.returncode == 0, asked.stderr
        lines.until("agent.restarting")
        lines.until("device.settled")
        lines.process.send_signal(signal.SIGTERM)
        said, _ = lines.process.communicate(timeout=WITHIN_S)

    assert lines.process.returncode == 0
    assert said.count("service-2") == 2


def test_the_folder_that_a_person_stands_in_is_not_searched_for_modules(state: Path, tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise SystemExit('taken from the folder')")
    done = subprocess.run(
        agent(state, "run", "--once"),
        env=environment(state),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
