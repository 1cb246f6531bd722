"""A device that is killed while it becomes known: at random moments by kill -9, and at every step one after the other."""

import asyncio
import multiprocessing
import random
import time

import pytest
from tests.integration.agent.double_provisioning import PROVISIONING_KEY, ProvisioningDouble
from tests.integration.agent.provisioning_rig import Fuse, PowerCut, rigged

from iotistic.agent.provisioning.model import ProvisioningRequest
from iotistic.agent.provisioning.provisioner import Around, Provisioner
from iotistic.agent.store.store import Store

DEVICES = 12
ASKED = ("cloud-key", "register", "key-exchange")
MOST_STEPS = 60
_FORK = multiprocessing.get_context("fork")


async def become(path, url):
    store = await Store.open(path)
    provisioner = await Provisioner.open(store, Around(lambda: 1000.0, lambda: 0.5))
    await provisioner.begin_with(ProvisioningRequest(PROVISIONING_KEY, url, "gate"))
    running = asyncio.create_task(provisioner.run())
    await provisioner.until(provisioned=True)
    running.cancel()
    await store.close()


def child(path, url):
    asyncio.run(become(path, url))


async def live(path, url, longest_s, heard=lambda: False):
    """Run a device for a while, or until it was heard; say whether it came to its end before it was killed."""
    process = _FORK.Process(target=child, args=(path, url))
    process.start()
    try:
        async with asyncio.timeout(longest_s):
            while process.is_alive() and not heard():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.001)
    except TimeoutError:
        pass
    process.kill()
    process.join(10)
    code = process.exitcode
    process.close()
    assert code in (0, -9)
    return code == 0


async def end_of(path):
    store = await Store.open(path)
    identity = await store.device.load()
    await store.close()
    return identity


async def killed_until_known(folder, chance, longest_s):
    """Kill a device while it asks, then at random until it got through; check what is known, return the kills."""
    folder.mkdir()
    cloud, path, kills = ProvisioningDouble(), folder / "agent.sqlite", 0
    asks = chance.randint(1, len(ASKED))
    async with rigged(folder, cloud) as rig:
        if not await live(path, rig.url, longest_s, lambda: len(cloud.asked) >= asks):
            kills += 1
        while not await live(path, rig.url, chance.random() * longest_s):
            kills += 1
    identity = await end_of(path)

    assert identity.provisioned
    assert cloud.made == [identity.uuid]
    assert cloud.rights[PROVISIONING_KEY].uses == 1
    assert list(cloud.devices[identity.uuid].api_keys) == [identity.device_api_key]
    assert cloud.devices[identity.uuid].mqtt_password == identity.mqtt_password
    return kills, len(cloud.asked) - len(ASKED)


async def test_a_device_that_is_killed_at_random_is_known_once_and_keeps_its_keys(tmp_path):
    chance, started = random.Random(7), time.monotonic()
    await killed_until_known(tmp_path / "whole", chance, 1e6)
    whole_s = time.monotonic() - started
    folders = [tmp_path / str(number) for number in range(DEVICES)]
    results = [await killed_until_known(folder, chance, whole_s) for folder in folders]

    assert sum(kills for kills, _ in results) >= DEVICES / 2
    assert sum(asked_again for _, asked_again in results) > 0


async def life(rig, request, *, at=0, after=False):
    """One life of a device, to its end or to a power cut; return how many steps it had."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        store = None
        try:
            store = await Store.open(rig.folder / "agent.sqlite")
            fuse = Fuse(monkeypatch, at=at, after=after)
            provisioner = await Provisioner.open(store, Around(rig.clock, lambda: 0.5))
            await provisioner.begin_with(request)
            if not provisioner.status().provisioned:
                await provisioner.provision(request)
        except PowerCut:
            pass
        finally:
            fuse.at = 0
            await store.close()
        return fuse.count


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_power_cut_at_any_step_is_made_up_for_by_the_next_life(tmp_path, after):
    async with rigged(tmp_path) as rig:
        steps = await life(rig, rig.request())
    assert 10 < steps < MOST_STEPS

    for at in range(1, steps + 1):
        (tmp_path / str(at)).mkdir()
        async with rigged(tmp_path / str(at)) as rig:
            await life(rig, rig.request(), at=at, after=after)
            await life(rig, rig.request())
            identity = await end_of(rig.folder / "agent.sqlite")

            assert (at, identity.provisioned) == (at, True)
            assert rig.cloud.made == [identity.uuid]
            assert list(rig.cloud.devices[identity.uuid].api_keys) == [identity.device_api_key]
            assert rig.cloud.devices[identity.uuid].mqtt_password == identity.mqtt_password
            assert rig.cloud.devices[identity.uuid].proven
