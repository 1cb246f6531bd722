"""A device becomes known to a cloud, over real HTTP and with a real disk, whatever the cloud answers."""

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.agent.double_provisioning import PROVISIONING_KEY, ProvisioningDouble, Right, refusal
from tests.integration.agent.provisioning_rig import rigged

from iotistic.agent.link.errors import CloudUnavailable, CloudUnintelligible
from iotistic.agent.provisioning.errors import (
    AlreadyProvisioned,
    DeviceLimitReached,
    DeviceTaken,
    DiskNotKept,
    ProvisioningKeyRefused,
    ProvisioningRejected,
    RequestInvalid,
)
from iotistic.agent.provisioning.keeping import ProgressStore
from iotistic.agent.provisioning.model import Farewell, ProvisioningState, address_of
from iotistic.contracts.provisioning.keys import read_key
from iotistic.kernel.errors import IotisticError

DAY_S = 86_400


def unavailable():
    return web.Response(status=503)


@contextlib.asynccontextmanager
async def running(provisioner):
    task = asyncio.create_task(provisioner.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met):
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["x25519", "rsa"])
async def test_a_new_device_becomes_known(tmp_path, kind):
    cloud = (
        ProvisioningDouble()
        if kind == "x25519"
        else ProvisioningDouble(rsa.generate_private_key(65537, 2048))
    )
    async with rigged(tmp_path, cloud) as rig, rig.device() as (store, provisioner):
        status = await provisioner.provision(rig.request(device_type="gateway", application_id="7"))
        identity = await store.device.load()

        known = cloud.devices[identity.uuid]
        assert known.proven
        assert list(known.api_keys) == [identity.device_api_key]
        assert (status.provisioned, status.state, status.problem) == (True, ProvisioningState.PROVISIONED, "")
        assert (status.device_id, status.device_name, status.mqtt_configured) == ("1", "gate", True)
        assert (identity.provisioning_key, status.has_provisioning_key) == ("", False)
        assert (identity.mqtt_username, identity.mqtt_password) == (
            f"device_{identity.uuid}",
            known.mqtt_password,
        )
        assert identity.mqtt_broker_url == "mqtts://broker.example:8883"
        assert identity.mqtt_broker_config["verifyCertificate"] is True
        assert (identity.device_type, identity.application_id) == ("gateway", "7")
        assert (identity.agent_version, identity.registered_at) == ("1.2.3", rig.clock())
        certificate = x509.load_pem_x509_certificate(identity.certificate.encode())
        assert certificate.public_key() == read_key(identity.private_key).public_key()
        assert cloud.asked == ["cloud-key", "register", "key-exchange"]


async def test_no_secret_crosses_the_wire_in_the_open_before_the_cloud_knows_the_device(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (store, provisioner):
        await provisioner.provision(rig.request())
        identity = await store.device.load()

        registering = b"".join(rig.cloud.bodies[:2])
        secrets = (PROVISIONING_KEY, identity.device_api_key, "PRIVATE KEY")
        assert [one for one in secrets if one.encode() in registering] == []
        assert b"PRIVATE KEY" not in b"".join(rig.cloud.bodies)


async def test_a_provisioned_device_is_so_after_a_restart_and_asks_nobody(tmp_path):
    async with rigged(tmp_path) as rig:
        async with rig.device() as (_, provisioner):
            await provisioner.provision(rig.request())
        asked = list(rig.cloud.asked)
        async with rig.device() as (_, provisioner), running(provisioner):
            await provisioner.begin_with(rig.request(api_endpoint="https://other.example"))
            identity = await provisioner.until(provisioned=True)

            assert provisioner.status().provisioned
            assert identity.api_endpoint == rig.url
            with pytest.raises(AlreadyProvisioned):
                await provisioner.provision(rig.request())
            with pytest.raises(AlreadyProvisioned):
                await provisioner.provision(rig.request(api_endpoint=""))
        assert rig.cloud.asked == asked


async def test_what_the_environment_asks_for_is_done_at_the_start(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner), running(provisioner):
        await provisioner.begin_with(None)
        assert provisioner.status().state is ProvisioningState.NEW
        await provisioner.begin_with(rig.request(api_endpoint=rig.url.removesuffix("/api/v1") + "/"))
        async with asyncio.timeout(5):
            identity = await provisioner.until(provisioned=True)
        assert identity.api_endpoint == rig.url


async def test_a_changed_key_in_the_environment_is_tried_and_the_same_refused_one_is_not_taken_up_again(
    tmp_path,
):
    async with rigged(tmp_path) as rig:
        wrong = rig.request(provisioning_key="wrong")
        async with rig.device() as (_, provisioner), running(provisioner):
            await provisioner.begin_with(wrong)
            await until(lambda: provisioner.status().is_refused)
        async with rig.device() as (_, provisioner), running(provisioner):
            await provisioner.begin_with(wrong)
            await until(lambda: provisioner.status().is_refused)
            assert provisioner.status().problem == "there is no such provisioning key"
            assert rig.cloud.asked.count("register") == 2
        async with rig.device() as (_, provisioner), running(provisioner):
            await provisioner.begin_with(rig.request())
            async with asyncio.timeout(5):
                await provisioner.until(provisioned=True)
        assert len(rig.cloud.made) == 1


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (lambda: refusal(401, "unauthorized", "no such key"), ProvisioningKeyRefused, "no such key"),
        (lambda: refusal(403, "forbidden", "revoked"), ProvisioningKeyRefused, "revoked"),
        (
            lambda: refusal(402, "limit", "3 devices", upgradeUrl="https://x.example"),
            DeviceLimitReached,
            "3 devices",
        ),
        (lambda: refusal(400, "bad", "deviceName is missing"), ProvisioningRejected, "deviceName is missing"),
        (lambda: refusal(404, "not_found", "no such route"), ProvisioningRejected, "no such route"),
        (lambda: refusal(422, "bad", "no"), ProvisioningRejected, "no"),
    ],
    ids=["401", "403", "402", "400", "404", "422"],
)
async def test_a_refusal_stands_until_somebody_asks_again(tmp_path, answer, expected, said):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner), running(provisioner):
        rig.cloud.instead["register"] = [answer]
        with pytest.raises(expected, match=said):
            await provisioner.provision(rig.request())
        status = provisioner.status()
        rig.clock.now += DAY_S
        await asyncio.sleep(0.05)

        assert (status.is_refused, status.next_try_at, status.has_provisioning_key) == (True, None, True)
        assert (status.problem_code, status.problem) == (expected.code, said)
        assert rig.cloud.asked.count("register") == 1
        assert (await provisioner.provision(rig.request())).provisioned


async def test_the_way_to_a_larger_plan_is_told(tmp_path):
    async with rigged(tmp_path, ProvisioningDouble(device_limit=0)) as rig, rig.device() as (_, provisioner):
        with pytest.raises(DeviceLimitReached) as raised:
            await provisioner.provision(rig.request())
        assert raised.value.hint == "https://x.example/up"


@pytest.mark.parametrize("route", ["cloud-key", "register", "challenge", "key-exchange"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda: refusal(500, "oops", "oops"), CloudUnavailable),
        (lambda: web.Response(status=503), CloudUnavailable),
        (lambda: refusal(425, "early", "too early"), CloudUnavailable),
        (lambda: refusal(409, "provisioning.in_progress", "in progress"), CloudUnavailable),
        (lambda: web.Response(status=403, text="<html>the proxy says no</html>"), CloudUnintelligible),
        (lambda: web.Response(status=404, text="nginx"), CloudUnintelligible),
        (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), CloudUnintelligible),
        (lambda: web.Response(text="<html>a hotel's login page</html>"), CloudUnintelligible),
        (lambda: web.json_response([]), CloudUnintelligible),
        (lambda: web.json_response({}), CloudUnintelligible),
    ],
    ids=["500", "503", "425", "busy", "proxy 403", "nginx 404", "302", "html", "list", "empty"],
)
async def test_what_may_pass_is_tried_again(tmp_path, route, answer, expected):
    cloud = ProvisioningDouble(gives_challenge=route != "challenge")
    async with rigged(tmp_path, cloud) as rig, rig.device() as (_, provisioner):
        cloud.instead[route] = [answer]
        with pytest.raises(expected):
            await provisioner.provision(rig.request())
        assert not provisioner.status().is_refused
        rig.clock.now = provisioner.status().next_try_at
        async with running(provisioner), asyncio.timeout(5):
            await provisioner.until(provisioned=True)
        assert len(cloud.made) == 1


async def test_it_waits_as_long_as_it_is_told_and_some_more(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner), running(provisioner):
        told = {"Retry-After": "600"}
        rig.cloud.instead["register"] = [
            lambda: web.json_response({"error": "slow"}, status=429, headers=told)
        ]
        started = rig.clock.now
        with pytest.raises(CloudUnavailable):
            await provisioner.provision(rig.request())

        assert provisioner.status().next_try_at - started == pytest.approx(600 * 1.15)


async def test_run_goes_on_by_itself_with_longer_and_longer_pauses(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner), running(provisioner):
        rig.cloud.instead["cloud-key"] = [unavailable] * 4
        await provisioner.begin_with(rig.request())
        pauses = []
        for _ in range(4):
            await until(lambda: (provisioner.status().next_try_at or 0) > rig.clock.now)
            pauses.append(provisioner.status().next_try_at - rig.clock.now)
            rig.clock.now = provisioner.status().next_try_at
            provisioner._wake.set()
        async with asyncio.timeout(5):
            await provisioner.until(provisioned=True)
        assert pauses == [15, 30, 60, 120]


@pytest.mark.parametrize("route", ["cloud-key", "register", "key-exchange"])
async def test_an_answer_that_is_lost_makes_no_second_device(tmp_path, route):
    async with rigged(tmp_path) as rig:
        rig.cloud.lose[route] = 1
        async with rig.device() as (_, provisioner):
            with pytest.raises(CloudUnavailable):
                await provisioner.provision(rig.request())
        async with rig.device() as (_, provisioner), running(provisioner), asyncio.timeout(5):
            identity = await provisioner.until(provisioned=True)
        assert rig.cloud.made == [identity.uuid]
        assert rig.cloud.rights[PROVISIONING_KEY].uses == 1
        assert rig.cloud.devices[identity.uuid].mqtt_password == identity.mqtt_password


async def test_a_device_that_the_cloud_knows_comes_back_by_proving_its_key(tmp_path):
    cloud = ProvisioningDouble(rights={PROVISIONING_KEY: Right(max_uses=1), "second": Right()})
    async with rigged(tmp_path, cloud) as rig, rig.device() as (store, provisioner):
        await provisioner.provision(rig.request())
        before = await store.device.load()
        cloud.instead["leave"] = [unavailable]
        assert not (await provisioner.deprovision()).is_cloud_told
        await provisioner.provision(rig.request(provisioning_key="second"))
        after = await store.device.load()

        assert cloud.made == [before.uuid]
        assert cloud.rights["second"].uses == 0
        assert (after.uuid, after.private_key, after.provisioned) == (before.uuid, before.private_key, True)
        assert cloud.devices[before.uuid].mqtt_password == after.mqtt_password != before.mqtt_password


async def test_a_good_provisioning_key_does_not_make_another_device_of_ours(tmp_path):
    """Somebody copied the uuid, and has a key of the fleet, but not the device's private key."""
    cloud = ProvisioningDouble(rights={PROVISIONING_KEY: Right(max_uses=5)})
    async with rigged(tmp_path, cloud) as rig:
        async with rig.device() as (store, provisioner):
            await provisioner.provision(rig.request())
            ours = await store.device.load()
        rig.folder = tmp_path / "thief"
        rig.folder.mkdir()
        async with rig.device() as (store, provisioner):
            await store.device.change(uuid=ours.uuid)
        async with rig.device() as (store, provisioner):
            assert provisioner.status().uuid == ours.uuid
            with pytest.raises(DeviceTaken) as raised:
                await provisioner.provision(rig.request())
        assert "remove the device" in raised.value.hint
        assert list(cloud.devices[ours.uuid].api_keys) == [ours.device_api_key]


async def test_the_proof_is_asked_for_where_no_challenge_came_with_the_registration(tmp_path):
    async with (
        rigged(tmp_path, ProvisioningDouble(gives_challenge=False)) as rig,
        rig.device() as (_, provisioner),
    ):
        await provisioner.provision(rig.request())
        assert rig.cloud.asked == ["cloud-key", "register", "challenge", "key-exchange"]


async def test_a_challenge_that_went_stale_is_asked_for_again(tmp_path):
    async with rigged(tmp_path) as rig:
        rig.cloud.instead["key-exchange"] = [unavailable]
        async with rig.device() as (_, provisioner):
            with pytest.raises(CloudUnavailable):
                await provisioner.provision(rig.request())
            assert provisioner.status().state is ProvisioningState.KEY_EXCHANGING
        rig.clock.now += 3600
        async with rig.device() as (_, provisioner), running(provisioner), asyncio.timeout(5):
            await provisioner.until(provisioned=True)
        assert rig.cloud.asked.count("register") == 1


async def test_a_device_that_is_removed_half_way_registers_anew(tmp_path):
    cloud = ProvisioningDouble(rights={PROVISIONING_KEY: Right(max_uses=2)})
    async with rigged(tmp_path, cloud) as rig, rig.device() as (_, provisioner):
        cloud.instead["key-exchange"] = [unavailable]
        with pytest.raises(CloudUnavailable):
            await provisioner.provision(rig.request())
        cloud.devices.clear()
        with pytest.raises(CloudUnavailable):
            await provisioner.provision(rig.request())
        assert (await provisioner.provision(rig.request())).provisioned
        assert len(cloud.devices) == 1


async def test_the_address_that_the_cloud_wants_is_taken_when_it_answers_there(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (store, provisioner):
        rig.cloud.endpoint = rig.url.replace("127.0.0.1", "localhost")
        await provisioner.provision(rig.request())
        assert address_of(await store.device.load()).url == rig.cloud.endpoint


async def test_an_address_where_nobody_answers_is_not_taken(tmp_path):
    cloud = ProvisioningDouble(endpoint="http://127.0.0.1:9")
    async with rigged(tmp_path, cloud) as rig, rig.device() as (store, provisioner):
        await provisioner.provision(rig.request())
        assert address_of(await store.device.load()).url == rig.url


@pytest.mark.parametrize("field", ["certificate", "ca"])
async def test_an_answer_that_cannot_be_used_is_not_kept(tmp_path, field):
    def spoil(route, answer):
        changes = {
            "certificate": {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
            "ca": {"api": {"tlsConfig": {"caCert": "no certificate"}}},
        }
        return {**answer, **changes[field]} if route == "register" else answer

    async with (
        rigged(tmp_path, ProvisioningDouble(changing=spoil)) as rig,
        rig.device() as (store, provisioner),
    ):
        with pytest.raises(CloudUnintelligible):
            await provisioner.provision(rig.request())
        identity = await store.device.load()
        assert (identity.certificate, identity.mqtt_username, identity.provisioned) == ("", "", False)
        assert (await ProgressStore(store.metadata).load()).state is ProvisioningState.REGISTERING


async def test_a_certificate_for_another_key_is_not_taken(tmp_path):
    (tmp_path / "other").mkdir()
    async with rigged(tmp_path / "other") as rig, rig.device() as (store, provisioner):
        await provisioner.provision(rig.request())
        foreign = (await store.device.load()).certificate

    def swap(route, answer):
        return {**answer, "certificate": foreign} if route == "register" else answer

    async with rigged(tmp_path, ProvisioningDouble(changing=swap)) as rig, rig.device() as (_, provisioner):
        with pytest.raises(CloudUnintelligible, match="another key"):
            await provisioner.provision(rig.request())


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_changed_in_an_answer_ends_in_our_errors_or_provisioned(tmp_path_factory, data):
    route = data.draw(st.sampled_from(["cloud-key", "register", "key-exchange"]))
    value = data.draw(st.none() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2))

    def spoil(at, answer):
        return {**answer, data.draw(st.sampled_from(sorted(answer))): value} if at == route else answer

    async with rigged(tmp_path_factory.mktemp("device"), ProvisioningDouble(changing=spoil)) as rig:
        async with rig.device() as (_, provisioner):
            with contextlib.suppress(IotisticError):
                await provisioner.provision(rig.request())
            rig.cloud.changing = lambda _, answer: answer
            if not provisioner.status().provisioned:
                with contextlib.suppress(IotisticError):
                    await provisioner.provision(rig.request())
        assert len(rig.cloud.made) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"provisioning_key": ""},
        {"provisioning_key": "é"},
        {"api_endpoint": ""},
        {"api_endpoint": "cloud.example"},
        {"api_endpoint": "ftp://cloud.example"},
        {"api_endpoint": "https://cloud.example:99999"},
        {"device_name": "x" * 256},
    ],
)
async def test_a_request_with_faults_is_refused_before_anything_is_kept(tmp_path, values):
    async with rigged(tmp_path) as rig, rig.device() as (store, provisioner):
        with pytest.raises(RequestInvalid):
            await provisioner.provision(rig.request(**values))
        assert (await store.device.load()).api_endpoint == ""
        assert rig.cloud.asked == []


async def test_a_disk_that_keeps_nothing_provisions_nothing(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (store, provisioner):
        store.database.is_kept = False
        with pytest.raises(DiskNotKept):
            await provisioner.provision(rig.request())
        assert rig.cloud.asked == []


async def test_leaving_keeps_uuid_and_keys_and_the_cloud_hears_of_it(tmp_path):
    async with rigged(tmp_path) as rig:
        async with rig.device() as (store, provisioner):
            await provisioner.provision(rig.request())
            before = await store.device.load()
            assert await provisioner.deprovision() == Farewell(is_cloud_told=True)
            after = await store.device.load()
        kept = replace(
            type(before)(before.uuid), device_api_key=before.device_api_key, private_key=before.private_key
        )
        assert after == kept
        assert rig.cloud.devices == {}
        asked = list(rig.cloud.asked)
        async with rig.device() as (_, provisioner), running(provisioner):
            await provisioner.begin_with(rig.request())
            await asyncio.sleep(0.05)
            assert provisioner.status().state is ProvisioningState.NEW
        assert rig.cloud.asked == asked


async def test_an_environment_that_never_changed_does_not_bring_back_a_device_that_left(tmp_path):
    cloud = ProvisioningDouble(rights={PROVISIONING_KEY: Right(), "by hand": Right()})
    async with rigged(tmp_path, cloud) as rig:
        async with rig.device() as (_, provisioner):
            await provisioner.provision(rig.request(provisioning_key="by hand"))
        async with rig.device() as (_, provisioner):
            await provisioner.begin_with(rig.request())
            await provisioner.deprovision()
        async with rig.device() as (_, provisioner):
            await provisioner.begin_with(rig.request())
            assert not provisioner.status().has_provisioning_key
            await provisioner.begin_with(rig.request(provisioning_key="another"))
            assert provisioner.status().has_provisioning_key


async def test_a_device_that_left_can_come_back_as_itself(tmp_path):
    cloud = ProvisioningDouble(rights={PROVISIONING_KEY: Right(max_uses=2)})
    async with rigged(tmp_path, cloud) as rig, rig.device() as (store, provisioner):
        await provisioner.provision(rig.request())
        await provisioner.deprovision()
        assert (await provisioner.provision(rig.request())).provisioned
        assert cloud.made == [(await store.device.load()).uuid] * 2


@pytest.mark.parametrize("answer", [unavailable, lambda: web.Response(status=404, text="nginx")])
async def test_whoever_leaves_hears_when_the_cloud_was_not_told(tmp_path, answer):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner):
        await provisioner.provision(rig.request())
        rig.cloud.instead["leave"] = [answer]
        farewell = await provisioner.deprovision()

        assert (farewell.is_cloud_told, bool(farewell.reason)) == (False, True)
        assert not provisioner.status().provisioned


async def test_a_device_that_the_cloud_does_not_know_leaves_without_a_word(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner):
        assert await provisioner.deprovision() == Farewell(
            is_cloud_told=False, reason="no cloud knows the device"
        )
        assert rig.cloud.asked == []


async def test_a_factory_reset_tells_the_cloud_first_and_keeps_the_uuid_only(tmp_path):
    cloud = ProvisioningDouble(rights={PROVISIONING_KEY: Right(max_uses=2)})
    async with rigged(tmp_path, cloud) as rig, rig.device() as (store, provisioner):
        await provisioner.provision(rig.request())
        before = await store.device.load()
        assert (await provisioner.factory_reset()).is_cloud_told
        after = await store.device.load()

        assert cloud.devices == {}
        assert after.uuid == before.uuid
        assert (after.private_key, after.certificate, after.provisioned) == ("", "", False)
        assert after.device_api_key not in ("", before.device_api_key)
        assert await store.metadata.load() == {}
        await provisioner.begin_with(rig.request())
        async with running(provisioner), asyncio.timeout(5):
            await provisioner.until(provisioned=True)


async def test_whoever_waits_hears_of_provisioning_and_of_leaving(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner):
        waiting = asyncio.create_task(provisioner.until(provisioned=True))
        await provisioner.provision(rig.request())
        assert (await waiting).provisioned
        waiting = asyncio.create_task(provisioner.until(provisioned=False))
        await provisioner.deprovision()
        assert not (await waiting).provisioned


async def test_becoming_known_takes_less_than_a_second(tmp_path):
    async with rigged(tmp_path) as rig, rig.device() as (_, provisioner):
        started = time.monotonic()
        await provisioner.provision(rig.request())
        assert time.monotonic() - started < 1.0
