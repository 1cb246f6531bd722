"""The agent's loop on Kubernetes: what is declared comes about, and what people do with kubectl is put right."""

import asyncio
import contextlib
import time

import pytest
from benchmarks.docker_device import Unlocked, shop
from benchmarks.docker_server import REGISTRY
from k3s_hands import HOME, K3sHands

from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.reconcile.record import Record
from iotistic.planning.model import Status, Target

MISSING = f"{REGISTRY}/team/none:1"


class Device:
    """A loop that keeps one Kubernetes equal to what it is told."""

    def __init__(self, cluster):
        self.engine = cluster.engine()
        self.hands = K3sHands(self.engine, cluster.client)
        self.statuses = []
        around = Surroundings(time.time, health=self._seen)
        self.loop = Reconciler(self.engine, Executor(self.engine, Unlocked()), Record(), around)

    def _seen(self, current):
        self.statuses.append({one.name: one.status for one in current.containers})
        return current

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.loop.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.engine.close()

    async def settle(self, target):
        self.loop.standing.settled_at = None
        self.loop.declare(target)
        await self.until(lambda: self.loop.standing.settled_at is not None and not self.loop.standing.steps)

    async def until(self, met):
        async with asyncio.timeout(30):
            while not met():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def one(self, name):
        return next((one for one in self.loop.standing.current.containers if one.name == name), None)

    def runs(self, name, image="web:1"):
        mine = [one for one in self.loop.standing.current.containers if one.name == name]
        return [(one.status, one.config.image) for one in mine] == [(Status.RUNNING, image)]


async def pods_of(cluster, container):
    """Return the names of the pods that a container is made of."""
    chosen = {"labelSelector": f"iotistic.container={container}"}
    return [
        pod["metadata"]["name"] for pod in (await cluster.client.get(f"api/v1/{HOME}/pods", chosen))["items"]
    ]


@pytest.fixture
async def device(cluster):
    async with Device(cluster).running() as running:
        await running.settle(shop())
        yield running


async def test_three_services_with_networks_and_a_volume_are_deployed(device, cluster):
    deployments = (await cluster.client.get(f"apis/apps/v1/{HOME}/deployments"))["items"]
    claims = (await cluster.client.get(f"api/v1/{HOME}/persistentvolumeclaims"))["items"]

    assert sorted(one["metadata"]["annotations"]["iotistic.service-name"] for one in deployments) == [
        "db",
        "watch",
        "web",
    ]
    assert [one["metadata"]["name"] for one in claims] == ["volume.7.data"]
    assert device.runs("web")


async def test_a_settled_device_is_left_alone(device):
    begun = len(device.statuses)
    for _ in range(5):
        device.loop.look()
        await asyncio.sleep(0.1)
    assert len(device.statuses) > begun
    assert device.loop.standing.steps == []


async def test_an_image_that_cannot_be_pulled_takes_nothing_down(device):
    begun = len(device.statuses)
    device.loop.declare(shop(MISSING))
    await device.until(lambda: any("fetch" in str(step) for step in device.loop.standing.steps))
    await asyncio.sleep(0.5)

    assert device.runs("web")
    assert {one.get("web") for one in device.statuses[begun:]} == {Status.RUNNING}


async def test_a_hand_over_keeps_one_that_runs_at_every_moment(device, cluster):
    first = device.one("web").id
    running = []

    async def watch():
        while True:
            pods = (await cluster.client.get(f"api/v1/{HOME}/pods"))["items"]
            mine = [
                pod
                for pod in pods
                if pod["metadata"].get("annotations", {}).get("iotistic.service-name") == "web"
            ]
            states = [pod["status"].get("containerStatuses", [{}])[0].get("state", {}) for pod in mine]
            running.append(sum("running" in state for state in states))
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    await device.settle(shop("web:2", updateStrategy="hand-over", handoverSeconds=1))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)

    assert device.runs("web", "web:2")
    assert device.one("web").id != first
    assert min(running) >= 1


async def test_paused_stopped_and_started_it_stays_the_same_container(device):
    first = device.one("web").id
    for state, status in (("paused", Status.PAUSED), ("stopped", Status.EXITED), ("running", Status.RUNNING)):
        await device.settle(shop(state=state))
        assert (device.one("web").id, device.one("web").status) == (first, status)


async def test_what_was_scaled_to_none_by_hand_runs_again(device):
    first, begun = device.one("web").id, len(device.statuses)
    await device.hands.stop(first)
    # A look that saw it, not the state of this moment: it may run again before anybody asks.
    await device.until(lambda: any(one.get("web") != Status.RUNNING for one in device.statuses[begun:]))
    await device.until(lambda: device.runs("web"))

    assert device.one("web").id == first


async def test_what_was_deleted_by_hand_is_made_again(device):
    first = device.one("web").id
    await device.hands.remove(first)
    await device.until(lambda: device.runs("web") and device.one("web").id != first)


async def test_a_pod_that_was_deleted_by_hand_is_kubernetes_own_business(device, cluster):
    first = device.one("web").id
    (pod,) = await pods_of(cluster, first)
    await cluster.client.delete(f"api/v1/{HOME}/pods/{pod}")

    async with asyncio.timeout(30):
        while await pods_of(cluster, first) in ([], [pod]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    device.loop.look()
    await device.until(lambda: device.runs("web"))

    assert device.one("web").id == first
    assert device.loop.standing.steps == []


async def test_an_agent_that_dies_in_an_update_is_followed_by_one_that_ends_it(cluster):
    async with Device(cluster).running() as first:
        await first.settle(shop())
        first.loop.declare(shop("web:2"))
        await asyncio.sleep(0.2)
    async with Device(cluster).running() as second:
        await second.settle(shop("web:2"))
        deployments = (await cluster.client.get(f"apis/apps/v1/{HOME}/deployments"))["items"]

        assert second.runs("web", "web:2")
        assert len(deployments) == 3


async def test_everything_is_taken_away_again(device, cluster):
    await device.settle(Target())
    await device.until(lambda: not device.loop.standing.current.containers)

    assert device.loop.standing.current.networks == frozenset()
