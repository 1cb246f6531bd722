"""The device's certificate is renewed over real HTTP, and the device has a pair that fits at every moment."""

import asyncio
import contextlib
import multiprocessing
import random
import time

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from tests.integration.agent.double_provisioning import CERTIFICATE_LIVES_S, LIVES_S, refusal
from tests.integration.agent.provisioning_rig import Fuse, PowerCut, rigged

from iotistic.agent.link.cloud import Cloud
from iotistic.agent.provisioning.certificate import CloudCertificates, certificate_of
from iotistic.agent.provisioning.model import address_of
from iotistic.agent.provisioning.renewal import CertificateKeeper
from iotistic.agent.store.store import Store
from iotistic.contracts.provisioning.fitting import read_term
from iotistic.contracts.provisioning.keys import is_for, make_key, read_key

DAY_S = 86_400
DUE_S = CERTIFICATE_LIVES_S * 2 / 3 + DAY_S
DEVICES = 12
_FORK = multiprocessing.get_context("fork")
UUID_OF_ANOTHER = "11111111-2222-4333-8444-555555555555"


@contextlib.asynccontextmanager
async def provisioned(folder):
    """A device that the cloud knows, with its first certificate, and an API key that is good for long."""
    folder.mkdir(exist_ok=True)
    async with rigged(folder) as rig:
        async with rig.device() as (_, provisioner):
            await provisioner.provision(rig.request())
        known = device(rig)
        known.api_keys = dict.fromkeys(known.api_keys, rig.clock.now + 100 * LIVES_S)
        yield rig


@contextlib.asynccontextmanager
async def keeping(rig, **options):
    """The device, started anew, and what renews its certificate."""
    store = await Store.open(rig.folder / "agent.sqlite")
    identity = await store.device.load()
    cloud = Cloud(address_of(identity), identity.uuid, lambda: identity.device_api_key)
    service = CloudCertificates(identity.uuid, cloud.ask)
    try:
        yield (
            store,
            await CertificateKeeper.open(store, service, clock=rig.clock, chance=lambda: 0.5, **options),
        )
    finally:
        await cloud.close()
        await store.close()


@contextlib.asynccontextmanager
async def running(keeper):
    task = asyncio.create_task(keeper.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met):
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.005)


async def look(keeper):
    """One turn of what `run` does; return after how many seconds the next one is."""
    try:
        next_at = await keeper._look()
    except Exception as exc:  # noqa: BLE001  whatever it is, `run` has to go on
        next_at = await keeper._failed(exc)
    return next_at - keeper._clock()


def device(rig):
    (known,) = rig.cloud.devices.values()
    return known


def asked(rig):
    return rig.cloud.asked.count("certificate")


def ends_at(identity):
    return read_term(certificate_of(identity)).ends_at


async def test_a_certificate_that_is_far_from_its_end_is_left_alone(tmp_path):
    async with provisioned(tmp_path) as rig, keeping(rig) as (_, keeper):
        rig.clock.now += CERTIFICATE_LIVES_S * 2 / 3 - DAY_S
        assert 0 < await look(keeper) <= DAY_S
        assert asked(rig) == 0
        assert keeper.until == pytest.approx(
            rig.clock.now + CERTIFICATE_LIVES_S / 3 + DAY_S, abs=DAY_S / 1000
        )


@pytest.mark.parametrize("after_s", [DUE_S, CERTIFICATE_LIVES_S + 1, 3 * CERTIFICATE_LIVES_S])
@pytest.mark.parametrize("makes_keys", [False, True])
async def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left_and_after_its_end(
    tmp_path, makes_keys, after_s
):
    async with provisioned(tmp_path) as rig:
        rig.clock.now += after_s
        heard = []
        async with keeping(rig, makes_keys=makes_keys, adopted=heard.append) as (store, keeper):
            before = await store.device.load()
            async with running(keeper):
                await until(lambda: heard)
            now = await store.device.load()

        assert heard == [now]
        assert keeper.until == ends_at(now) >= rig.clock.now + CERTIFICATE_LIVES_S - 1
        assert is_for(now.certificate, now.private_key)
        assert (now.private_key != before.private_key) is makes_keys
        assert device(rig).public_key == read_key(now.private_key).public_key()
        async with keeping(rig) as (_, keeper):
            await look(keeper)
        assert asked(rig) == 1


async def test_a_device_without_a_certificate_asks_for_none(tmp_path):
    async with provisioned(tmp_path) as rig, keeping(rig) as (store, _):
        await store.device.change(certificate="")
        async with keeping_on(rig, store) as keeper:
            assert await look(keeper) > 0
            assert (keeper.until, asked(rig)) == (None, 0)


@contextlib.asynccontextmanager
async def keeping_on(rig, store, **options):
    identity = await store.device.load()
    cloud = Cloud(address_of(identity), identity.uuid, lambda: identity.device_api_key)
    service = CloudCertificates(identity.uuid, cloud.ask)
    try:
        yield await CertificateKeeper.open(store, service, clock=rig.clock, chance=lambda: 0.5, **options)
    finally:
        await cloud.close()


async def test_a_certificate_that_cannot_be_read_is_replaced(tmp_path):
    async with provisioned(tmp_path) as rig, keeping(rig) as (store, _):
        await store.device.change(certificate="-----BEGIN CERTIFICATE-----\nrubbish\n")
        async with keeping_on(rig, store) as keeper:
            await look(keeper)
        identity = await store.device.load()
        assert is_for(identity.certificate, identity.private_key)


async def test_what_the_broker_was_given_for_the_device_is_renewed_and_its_authorities_are_joined(tmp_path):
    async with provisioned(tmp_path) as rig, keeping(rig) as (store, _):
        identity = await store.device.load()
        known = rig.cloud.certificate(device(rig).public_key, "old authority")
        config = {"host": "b", "clientCert": identity.certificate, "caCert": known}
        await store.device.change(certificate="", mqtt_broker_config=config)
        rig.clock.now += DUE_S
        new = rig.cloud.certificate(device(rig).public_key, "new authority")
        rig.cloud.changing = lambda _, answer: answer | {"caCert": new}
        async with keeping_on(rig, store) as keeper:
            await look(keeper)
        identity = await store.device.load()

        assert is_for(identity.certificate, identity.private_key)
        assert identity.mqtt_broker_config == {"host": "b", "caCert": new + known}


@pytest.mark.parametrize("ca_cert", ["rubbish", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
async def test_authorities_that_cannot_be_read_cost_no_certificate(tmp_path, ca_cert):
    async with provisioned(tmp_path) as rig, keeping(rig) as (store, _):
        await store.device.change(mqtt_broker_config={"caCert": "known"})
        rig.clock.now += DUE_S
        rig.cloud.changing = lambda _, answer: answer | {"caCert": ca_cert}
        async with keeping_on(rig, store) as keeper:
            await look(keeper)
        identity = await store.device.load()

        assert ends_at(identity) > rig.clock.now + CERTIFICATE_LIVES_S / 2
        assert identity.mqtt_broker_config == {"caCert": "known"}


def answers(rig, kind):
    """Certificates that are of no use to the device."""
    known, (uuid,) = device(rig), rig.cloud.devices
    other = read_key(make_key()).public_key()
    lives_s, rig.cloud.certificate_lives_s = rig.cloud.certificate_lives_s, 60
    rig.clock.now -= 3600
    ended = rig.cloud.certificate(known.public_key, uuid)
    rig.clock.now += 3600
    rig.cloud.certificate_lives_s = lives_s
    return {
        "rubbish": lambda: web.json_response({"certificate": "rubbish"}),
        "another key": lambda: web.json_response({"certificate": rig.cloud.certificate(other, uuid)}),
        "another device": lambda: web.json_response(
            {"certificate": rig.cloud.certificate(known.public_key, UUID_OF_ANOTHER)}
        ),
        "ended": lambda: web.json_response({"certificate": ended}),
        "refused": lambda: refusal(403, "device.suspended", "the device is suspended"),
        "no such route": lambda: web.Response(status=404),
    }[kind]


@pytest.mark.parametrize("makes_keys", [False, True])
@pytest.mark.parametrize(
    "kind", ["rubbish", "another key", "another device", "ended", "refused", "no such route"]
)
async def test_a_refusal_and_what_is_of_no_use_change_nothing_and_are_asked_about_once_a_day(
    tmp_path, kind, makes_keys
):
    async with provisioned(tmp_path) as rig:
        rig.clock.now += DUE_S
        rig.cloud.instead["certificate"] = [answers(rig, kind)] * 10
        async with keeping(rig, makes_keys=makes_keys) as (store, keeper):
            before = await store.device.load()
            assert await look(keeper) == DAY_S
            assert await store.device.load() == before
        for _ in range(3):  # restarts are no reason to ask
            async with keeping(rig, makes_keys=makes_keys) as (_, keeper):
                await look(keeper)
        assert asked(rig) == 1
        rig.clock.now += DAY_S + 1
        rig.cloud.instead["certificate"] = []
        async with keeping(rig, makes_keys=makes_keys) as (store, keeper):
            await look(keeper)
            identity = await store.device.load()
        assert ends_at(identity) > rig.clock.now + CERTIFICATE_LIVES_S / 2
        assert is_for(identity.certificate, identity.private_key)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.json_response({}),
        lambda: web.json_response({"certificate": ["x"]}),
        lambda: web.Response(status=503),
        lambda: web.Response(text="<html>"),
        lambda: refusal(401, "device.key_unknown", "the device key is wrong"),
    ],
)
async def test_what_may_pass_is_tried_again_soon_and_then_later(tmp_path, answer):
    async with provisioned(tmp_path) as rig, keeping(rig) as (_, keeper):
        rig.clock.now += DUE_S
        rig.cloud.instead["certificate"] = [answer] * 3
        pauses = [await look(keeper) for _ in range(3)]
        assert pauses == pytest.approx([15, 30, 60])
        await look(keeper)
        assert keeper.until > rig.clock.now + CERTIFICATE_LIVES_S / 2


@pytest.mark.parametrize(
    ("left_s", "level"), [(CERTIFICATE_LIVES_S / 4, "warning"), (20 * DAY_S, "error"), (-DAY_S, "error")]
)
async def test_it_is_said_out_loud_when_little_time_is_left(tmp_path, left_s, level):
    async with provisioned(tmp_path) as rig, keeping(rig) as (_, keeper):
        rig.clock.now += CERTIFICATE_LIVES_S - left_s
        rig.cloud.instead["certificate"] = [lambda: refusal(403, "device.suspended", "no")]
        with capture_logs() as logs:
            await look(keeper)
        assert [(one["event"], one["log_level"]) for one in logs] == [("certificate.not_renewed", level)]


@pytest.mark.parametrize("ahead_s", [DUE_S, 2 * CERTIFICATE_LIVES_S, 100 * CERTIFICATE_LIVES_S])
async def test_a_clock_that_is_ahead_does_not_renew_without_end(tmp_path, ahead_s):
    async with provisioned(tmp_path) as rig:
        cloud_time = rig.clock.now
        rig.cloud.clock = lambda: cloud_time
        (key,) = device(rig).api_keys
        device(rig).api_keys = {key: cloud_time + 1e9}
        rig.clock.now += ahead_s
        for _ in range(6):
            async with keeping(rig) as (_, keeper):
                await look(keeper)
            rig.clock.now += 3600
        assert asked(rig) == 1


async def test_a_clock_that_is_behind_renews_nothing_and_goes_on_when_it_is_set(tmp_path):
    async with provisioned(tmp_path) as rig, keeping(rig) as (_, keeper):
        right = rig.clock.now + DUE_S
        rig.clock.now = 1000.0
        assert 0 < await look(keeper) <= DAY_S
        assert asked(rig) == 0
        rig.clock.now = right
        await look(keeper)
        assert asked(rig) == 1


async def test_a_certificate_that_lives_for_hours_is_looked_after_more_often(tmp_path):
    async with provisioned(tmp_path) as rig:
        rig.cloud.certificate_lives_s = 6 * 3600
        rig.clock.now += DUE_S
        async with keeping(rig) as (_, keeper):
            assert await look(keeper) <= 3600
            rig.clock.now += 4 * 3600 + 1
            assert await look(keeper) <= 3600
        assert asked(rig) == 2


async def test_a_disk_that_takes_no_writes_asks_for_nothing(tmp_path):
    async with provisioned(tmp_path) as rig, keeping(rig) as (store, keeper):
        rig.clock.now += DUE_S
        store.database.is_kept = False
        assert await look(keeper) == pytest.approx(15)
        assert asked(rig) == 0


@pytest.mark.parametrize("leave", ["deprovision", "factory_reset"])
async def test_a_device_that_leaves_does_so_with_its_renewed_keys(tmp_path, leave):
    async with provisioned(tmp_path) as rig, rig.device() as (store, provisioner):
        rig.clock.now += DUE_S
        async with keeping_on(rig, store, makes_keys=True) as keeper:
            await look(keeper)
        device(rig).api_keys = {"k" * 32: rig.clock.now + LIVES_S}
        renewed = await store.device.change(device_api_key="k" * 32)
        farewell = await getattr(provisioner, leave)()
        identity = await store.device.load()

        assert farewell.is_cloud_told
        assert (identity.private_key == renewed.private_key) is (leave == "deprovision")
        assert "certificate_renewal" not in await store.metadata.load()


async def life(rig, *, makes_keys, at=0, after=False):
    """One look at the certificate, to its end or to a power cut; return how many steps it had."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        async with keeping(rig, makes_keys=makes_keys) as (_, keeper):
            fuse = Fuse(monkeypatch, at=at, after=after)
            with contextlib.suppress(PowerCut):
                await keeper._look()
            fuse.at = 0
        return fuse.count


@pytest.mark.parametrize("makes_keys", [False, True], ids=["same key", "new keys"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_power_cut_at_any_step_leaves_a_pair_that_fits_and_the_next_life_renews(
    tmp_path, after, makes_keys
):
    async with provisioned(tmp_path / "whole") as rig:
        rig.clock.now += DUE_S
        steps = await life(rig, makes_keys=makes_keys)
    assert 3 < steps < 12

    for at in range(1, steps + 1):
        async with provisioned(tmp_path / str(at)) as rig:
            rig.clock.now += DUE_S
            await life(rig, makes_keys=makes_keys, at=at, after=after)
            for _ in range(2):
                async with keeping(rig) as (store, _):
                    identity = await store.device.load()
                known = device(rig)
                public = read_key(identity.private_key).public_key()
                assert (at, is_for(identity.certificate, identity.private_key)) == (at, True)
                assert public in (known.public_key, known.former_key)
                await life(rig, makes_keys=makes_keys)
            assert (at, ends_at(identity) > rig.clock.now + CERTIFICATE_LIVES_S / 2) == (at, True)
            assert asked(rig) <= 2


async def renew(rig):
    async with keeping(rig, makes_keys=True) as (_, keeper):
        await look(keeper)


def child(rig):
    asyncio.run(renew(rig))


async def live(rig, longest_s):
    """Run a device for a while; say whether it came to its end before it was killed."""
    process = _FORK.Process(target=child, args=(rig,))
    process.start()
    try:
        async with asyncio.timeout(longest_s):
            while process.is_alive():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.001)
    except TimeoutError:
        process.kill()
    process.join(10)
    code = process.exitcode
    process.close()
    assert code in (0, -9)
    return code == 0


async def test_a_device_that_is_killed_at_random_while_it_renews_has_a_pair_that_fits(tmp_path):
    chance, kills, whole_s = random.Random(5), 0, 1e6
    for number in range(DEVICES):
        async with provisioned(tmp_path / str(number)) as rig:
            rig.clock.now += DUE_S
            started, is_done = time.monotonic(), False
            while not is_done:
                is_done = await live(rig, whole_s * (0.8 * chance.random() if number else 1))
                kills += not is_done
                async with keeping(rig) as (store, _):
                    identity = await store.device.load()
                known = device(rig)
                assert is_for(identity.certificate, identity.private_key)
                assert read_key(identity.private_key).public_key() in (known.public_key, known.former_key)
            whole_s = min(whole_s, time.monotonic() - started)
            assert ends_at(identity) > rig.clock.now + CERTIFICATE_LIVES_S / 2
    assert kills >= DEVICES / 4
