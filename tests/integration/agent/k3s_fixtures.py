"""A Kubernetes of the tests' own: a double of its API, or the real one where KUBERNETES_FOR_TESTS names its folder."""

import asyncio
import contextlib
import os

import pytest
from benchmarks.docker_server import PASSWORD, REGISTRY, USERNAME
from benchmarks.kubernetes_server import KubernetesServer
from k3s_hands import K3sHands
from kube_double import TOKEN, KubeDouble
from kubelet_double import KubeletDouble

from iotistic.agent.engines.docker.pulling import Credentials
from iotistic.agent.engines.k3s.access import Access
from iotistic.agent.engines.k3s.client import KubeClient
from iotistic.agent.engines.k3s.engine import K3sEngine

REAL = os.environ.get("KUBERNETES_FOR_TESTS", "")


class Cluster:
    """A Kubernetes with one node that runs no containers."""

    def __init__(self, access, double=None):
        self.access, self.double = access, double
        self.client = KubeClient(access)
        self.kubelet = KubeletDouble(self.client)
        if double is not None:
            double.read_logs = self.kubelet.logs

    def engine(self, **more):
        return K3sEngine(self.access, _keyring, **more)

    @contextlib.asynccontextmanager
    async def with_node(self):
        async with self.kubelet.serving() if self.double is None else contextlib.nullcontext():
            tasks = [asyncio.create_task(self.kubelet.run())]
            if self.double is None:
                tasks.append(asyncio.create_task(self.kubelet.provide_volumes()))
            try:
                while not (await self.client.get("api/v1/nodes"))["items"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self.client.close()
                if self.double is None:  # connections over TLS need a moment of their loop to close
                    await asyncio.sleep(0.1)


CANNOT = {
    "test_what_a_container_prints_is_followed_while_it_runs": "Kubernetes mixes stdout and stderr",
    "test_a_container_that_is_started_again_keeps_what_it_printed": "a pod's logs go with it",
}
"""What of the contract of all engines is not promised by Kubernetes: docs/agent/k3s.md says so."""


def _keyring(host):
    return Credentials(USERNAME, PASSWORD) if host == REGISTRY else None


@pytest.fixture(scope="session")
def kubernetes_server():
    """A real API server with its controllers, for all tests of one process."""
    with KubernetesServer(REAL).running() as server:
        yield server


@contextlib.asynccontextmanager
async def open_cluster(request):
    """Yield a cluster in which nothing of ours is."""
    if REAL:
        server = request.getfixturevalue("kubernetes_server")
        await asyncio.to_thread(server.clear)
        async with Cluster(server.access).with_node() as real:
            yield real
        return
    double = KubeDouble()
    async with (
        double.serving() as address,
        Cluster(Access(address, token=TOKEN), double).with_node() as doubled,
    ):
        yield doubled


@contextlib.asynccontextmanager
async def open_hands(request):
    """Yield the engine with a person who interferes with it."""
    async with open_cluster(request) as cluster:
        engine = cluster.engine()
        yield K3sHands(engine, cluster.client)
        await engine.close()


@pytest.fixture
async def cluster(request):
    """A cluster in which nothing of ours is."""
    async with open_cluster(request) as opened:
        yield opened


@pytest.fixture
async def k3s_hands(cluster):
    """The engine on that cluster, and a person who interferes with it."""
    engine = cluster.engine()
    yield K3sHands(engine, cluster.client)
    await engine.close()
