"""A Docker of the tests' own, and each engine with hands that interfere with it."""

import os

import pytest
from benchmarks.docker_server import PASSWORD, REGISTRY, USERNAME, DockerMissing, DockerServer
from engine_hands import DockerHands, SimulatedHands
from k3s_fixtures import CANNOT, cluster, k3s_hands, kubernetes_server, open_hands  # noqa: F401  fixtures

from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.docker.pulling import Credentials


@pytest.fixture(scope="session")
def docker_server():
    """A dockerd that runs for all tests of one process."""
    server = DockerServer()
    try:
        server.start()
        server.start_registry()
    except DockerMissing as exc:
        server.stop()
        # CI has to have it; a person's machine may not.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(exc.message)
    yield server
    server.stop()


@pytest.fixture
def docker(docker_server):
    """The dockerd, without containers, networks and volumes."""
    docker_server.clear()
    return docker_server


def keyring(host):
    return Credentials(USERNAME, PASSWORD) if host == REGISTRY else None


@pytest.fixture
async def docker_engine(docker):
    engine = DockerEngine(docker.socket, keyring)
    yield engine
    await engine.close()


@pytest.fixture(params=["simulated", "docker", "k3s"])
async def hands(request):
    """An engine, whichever, and what a person can do to it by hand."""
    if request.param == "simulated":
        yield SimulatedHands()
        return
    if request.param == "k3s":
        if reason := CANNOT.get(request.function.__name__):
            pytest.skip(reason)
        async with open_hands(request) as k3s:
            yield k3s
        return
    docker = request.getfixturevalue("docker")
    engine = DockerEngine(docker.socket, keyring)
    yield DockerHands(engine, docker)
    await engine.close()
