"""kill -9 at random points of updates, of the agent and of Docker: the device always becomes what was declared."""

import os
import random

import pytest
from benchmarks.docker_server import DockerMissing, DockerServer
from benchmarks.power_cuts import cut_often
from benchmarks.power_device import PowerDevice

CUTS = int(os.environ.get("POWER_CUTS", "5"))
SPAN_S = 4.0

pytestmark = pytest.mark.slow


@pytest.fixture
def device(tmp_path):
    docker = DockerServer()
    made = PowerDevice(docker, tmp_path)
    try:
        docker.start()
        made.prepare()
        yield made
    except DockerMissing as exc:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(exc.message)
    finally:
        made.stop()
        docker.stop()


def test_an_agent_that_is_killed_anywhere_goes_on_where_it_was(device):
    found = cut_often(device, CUTS, random.Random(), SPAN_S)

    # What is left, twice or lost after each of them would have ended it with a reason.
    assert found.cuts >= CUTS
    assert list(device.faults()) == []


@pytest.mark.parametrize("agent_too", [False, True], ids=["docker", "both"])
def test_a_docker_that_is_killed_is_brought_to_the_target_again(device, agent_too):
    device.forget_log()
    device.declare()
    device.until_working_or_settled()
    device.pause(random.uniform(0, SPAN_S))
    if agent_too:
        device.cut()
    try:
        device.kill_docker()
    except DockerMissing as exc:
        # Debian's 20.10 panics on what it left itself, about once in ten times; no agent can help there.
        panicked = "github.com/docker/docker" in exc.message
        (pytest.skip if panicked else pytest.fail)("Docker does not start on what it left")
    if agent_too:
        device.start()
    device.settle()

    assert list(device.faults()) == []
