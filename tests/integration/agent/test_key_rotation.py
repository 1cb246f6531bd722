"""The device's API key is renewed over real HTTP, and the device is never locked out on the way."""

import asyncio
import contextlib
import json

import pytest
from aiohttp import web
from tests.integration.agent.double_provisioning import GRACE_S, LIVES_S, ProvisioningDouble, refusal
from tests.integration.agent.provisioning_rig import Fuse, PowerCut, rigged

from iotistic.agent.link.cloud import Cloud
from iotistic.agent.link.errors import CloudDenied
from iotistic.agent.link.transport import CloudTransport
from iotistic.agent.provisioning.keys import CloudKeys, KeyHistory, KeyHistoryStore
from iotistic.agent.provisioning.model import address_of
from iotistic.agent.provisioning.rotation import KeyRotator
from iotistic.agent.store.store import Store

DAY_S = 86_400


@contextlib.asynccontextmanager
async def provisioned(tmp_path):
    """A device that the cloud knows, with its first key."""
    async with rigged(tmp_path, ProvisioningDouble()) as rig:
        async with rig.device() as (_, provisioner):
            await provisioner.provision(rig.request())
        yield rig


@contextlib.asynccontextmanager
async def rotating(rig):
    """The device, started anew, and what renews its key."""
    store = await Store.open(rig.folder / "agent.sqlite")
    identity = await store.device.load()
    transport = CloudTransport(address_of(identity))
    keys = CloudKeys(transport, identity.uuid)
    try:
        yield store, await KeyRotator.open(store, keys, clock=rig.clock, chance=lambda: 0.5)
    finally:
        await transport.close()
        await store.close()


@contextlib.asynccontextmanager
async def running(rotator):
    task = asyncio.create_task(rotator.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met):
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.005)


def device(rig):
    (known,) = rig.cloud.devices.values()
    return known


def is_good(rig, key):
    return device(rig).api_keys.get(key, 0.0) > rig.clock.now


async def test_a_key_that_is_far_from_its_end_is_left_alone(tmp_path):
    async with provisioned(tmp_path) as rig, rotating(rig) as (_, rotator), running(rotator):
        await until(lambda: "key-status" in rig.cloud.asked)
        assert len(device(rig).api_keys) == 1


async def test_a_key_is_renewed_before_it_ends_and_the_old_one_is_forgotten_after_its_grace(tmp_path):
    async with provisioned(tmp_path) as rig:
        rig.clock.now += LIVES_S - 6 * DAY_S
        async with rotating(rig) as (store, rotator):
            old = rotator.api_key()
            async with running(rotator):
                await until(lambda: rotator.api_key() != old)
                await until(lambda: rig.cloud.asked[-1] == "key-status")
            assert is_good(rig, rotator.api_key())
            assert (await store.device.load()).device_api_key == rotator.api_key()
            assert (await KeyHistoryStore(store.metadata).load()).previous == old
        rig.clock.now += GRACE_S
        async with rotating(rig) as (store, rotator):
            await rotator._look()
            assert (await KeyHistoryStore(store.metadata).load()).previous == ""
        assert rig.cloud.asked.count("rotate-key") == 1


@pytest.mark.parametrize(
    "payload", [b"", b'{"action": "rotate"}', b'{"data": {"expires_at": "2026-01-31T12:00:00Z"}}']
)
async def test_a_notice_renews_the_key_at_once(tmp_path, payload):
    async with provisioned(tmp_path) as rig, rotating(rig) as (_, rotator), running(rotator):
        old = rotator.api_key()
        await until(lambda: rig.cloud.asked[-1] == "key-status")
        rotator.notice(payload)
        await until(lambda: rotator.api_key() != old)
        rotator.notice(payload)  # delivered twice
        await until(lambda: rig.cloud.asked.count("key-status") >= 3)
        assert rig.cloud.asked.count("rotate-key") == 1


async def test_a_key_that_comes_with_the_notice_is_used_once_the_cloud_takes_it(tmp_path):
    async with provisioned(tmp_path) as rig, rotating(rig) as (store, rotator), running(rotator):
        await until(lambda: rig.cloud.asked[-1] == "key-status")
        device(rig).api_keys["n" * 64] = rig.clock.now + LIVES_S
        rotator.notice(json.dumps({"new_api_key": "n" * 64}).encode())
        await until(lambda: rotator.api_key() == "n" * 64)
        assert (await store.device.load()).device_api_key == "n" * 64


@pytest.mark.parametrize(
    "payload",
    [
        b'{"new_api_key": "%s"}' % (b"x" * 64),
        b'{"new_api_key": "short"}',
        b"\xff",
        b"[1]",
        b'{"new_api_key": 5}',
    ],
)
async def test_a_notice_from_somebody_else_changes_nothing(tmp_path, payload):
    async with provisioned(tmp_path) as rig, rotating(rig) as (_, rotator), running(rotator):
        old = rotator.api_key()
        await until(lambda: rig.cloud.asked[-1] == "key-status")
        rotator.notice(payload)
        await asyncio.sleep(0.1)
        assert rotator.api_key() == old
        assert "rotate-key" not in rig.cloud.asked
        assert is_good(rig, old)


async def test_an_answer_that_is_lost_locks_nobody_out(tmp_path):
    async with provisioned(tmp_path) as rig:
        rig.clock.now += LIVES_S - 6 * DAY_S
        rig.cloud.lose["rotate-key"] = 1
        async with rotating(rig) as (_, rotator):
            old = rotator.api_key()
            async with running(rotator):
                await until(lambda: "rotate-key" in rig.cloud.asked)
                await asyncio.sleep(0.05)
            assert is_good(rig, old)
        async with rotating(rig) as (_, rotator), running(rotator):
            await until(lambda: rotator.api_key() != old)
            assert is_good(rig, rotator.api_key())


async def test_a_new_key_that_is_refused_gives_way_to_the_old_one(tmp_path):
    async with provisioned(tmp_path) as rig, rotating(rig) as (store, rotator):
        old = rotator.api_key()
        cloud = Cloud(
            address_of(await store.device.load()),
            (await store.device.load()).uuid,
            rotator.api_key,
            key_refused=rotator.refused,
        )
        await rotator._renew()
        refused = rotator.api_key()
        del device(rig).api_keys[refused]
        with pytest.raises(CloudDenied):
            await cloud.ask("GET", f"/device/{(await store.device.load()).uuid}/key-status")
        assert rotator.api_key() == old
        await cloud.ask("GET", f"/device/{(await store.device.load()).uuid}/key-status")
        async with running(rotator):  # whose end is near, and so another new one is asked for
            await until(lambda: rotator.api_key() not in (old, refused))
        assert is_good(rig, (await store.device.load()).device_api_key)
        await cloud.close()


async def test_a_new_key_that_never_worked_is_given_back_at_once(tmp_path):
    async with provisioned(tmp_path) as rig, rotating(rig) as (store, rotator):
        old = rotator.api_key()
        rig.cloud.instead["key-status"] = [lambda: refusal(401, "device.key_unknown", "no")]
        with pytest.raises(CloudDenied):
            await rotator._renew()
        assert rotator.api_key() == (await store.device.load()).device_api_key == old


async def test_a_key_that_nobody_takes_is_kept_and_asked_about_seldom(tmp_path):
    async with provisioned(tmp_path) as rig, rotating(rig) as (store, rotator), running(rotator):
        old = rotator.api_key()
        device(rig).api_keys.clear()
        rotator.refused(old)
        await until(lambda: "key-status" in rig.cloud.asked)
        for _ in range(20):
            rotator.refused(old)
        await asyncio.sleep(0.1)
        assert rotator.api_key() == (await store.device.load()).device_api_key == old
        assert rig.cloud.asked.count("key-status") <= 2


async def test_a_renewal_that_was_cut_short_is_made_up_for_at_once(tmp_path):
    async with provisioned(tmp_path) as rig:
        rig.clock.now += LIVES_S - 6 * DAY_S
        async with rotating(rig) as (store, rotator):
            history = KeyHistory(rotator.api_key(), rig.clock.now + GRACE_S, rig.clock.now)
            await KeyHistoryStore(store.metadata).save(history)
        async with rotating(rig) as (_, rotator):
            await rotator._look()
        assert rig.cloud.asked.count("rotate-key") == 1


async def test_a_clock_that_is_wrong_does_not_renew_without_end(tmp_path):
    async with provisioned(tmp_path) as rig, rotating(rig) as (_, rotator):
        cloud_time = rig.clock.now
        rig.cloud.clock = lambda: cloud_time
        rig.clock.now += 10 * LIVES_S
        for _ in range(5):
            await rotator._look()
            rig.clock.now += 3600
        assert rig.cloud.asked.count("rotate-key") == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.json_response({}),
        lambda: web.json_response({"data": {"new_api_key": ""}}),
        lambda: web.json_response({"data": {"new_api_key": "a b" * 20}}),
        lambda: web.Response(status=500),
        lambda: web.Response(text="<html>"),
    ],
)
async def test_an_answer_that_makes_no_sense_changes_nothing(tmp_path, answer):
    async with provisioned(tmp_path) as rig, rotating(rig) as (store, rotator), running(rotator):
        old = rotator.api_key()
        await until(lambda: rig.cloud.asked[-1] == "key-status")
        rig.cloud.instead["rotate-key"] = [answer]
        rotator.notice(b"")
        await until(lambda: "rotate-key" in rig.cloud.asked)
        await asyncio.sleep(0.05)
        assert rotator.api_key() == (await store.device.load()).device_api_key == old


async def test_a_disk_that_takes_no_writes_asks_for_no_new_key(tmp_path):
    async with provisioned(tmp_path) as rig, rotating(rig) as (store, rotator), running(rotator):
        store.database.is_kept = False
        rotator.notice(b"")
        await until(lambda: rig.cloud.asked[-1] == "key-status")
        await asyncio.sleep(0.05)
        assert "rotate-key" not in rig.cloud.asked


async def life(rig, *, at=0, after=False):
    """One look at the key, to its end or to a power cut; return how many steps it had."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        async with rotating(rig) as (_, rotator):
            fuse = Fuse(monkeypatch, at=at, after=after)
            with contextlib.suppress(PowerCut):
                await rotator._look()
            fuse.at = 0
        return fuse.count


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_power_cut_at_any_step_of_a_renewal_locks_nobody_out(tmp_path, after):
    (tmp_path / "whole").mkdir()
    async with provisioned(tmp_path / "whole") as rig:
        rig.clock.now += LIVES_S - 6 * DAY_S
        steps = await life(rig)
    assert 4 < steps < 20

    for at in range(1, steps + 1):
        (tmp_path / str(at)).mkdir()
        async with provisioned(tmp_path / str(at)) as rig:
            rig.clock.now += LIVES_S - 6 * DAY_S
            await life(rig, at=at, after=after)
            for _ in range(3):
                async with rotating(rig) as (_, rotator):
                    assert (at, is_good(rig, rotator.api_key())) == (at, True)
                await life(rig)
                rig.clock.now += 2 * DAY_S
            async with rotating(rig) as (_, rotator):
                assert device(rig).api_keys[rotator.api_key()] > rig.clock.now + 60 * DAY_S
