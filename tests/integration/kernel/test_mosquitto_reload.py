"""What the broker takes over, running or by a restart, and how a revoked device is put off."""

import asyncio
import contextlib
import ssl
import time
from functools import partial

import pytest

from iotistic.kernel.mosquitto.control import running_broker
from iotistic.kernel.mqtt.reasons import SESSION_TAKEN_OVER

CONNECTED = 0
ENDED = {None, SESSION_TAKEN_OVER}  # 2.0.11 closes without a DISCONNECT packet


def connect(broker, credential):
    assert broker.device(credential).connect(credential.cn).reason == CONNECTED


def refused(attempt):
    try:
        attempt()
    except (OSError, AssertionError):
        return True
    return False


async def test_a_revoked_device_is_off_within_two_seconds_and_stays_off(own_broker):
    credential = own_broker.authority.issue("aabbccddee01")
    device = own_broker.device(credential)
    device.connect("aabbccddee01")
    other = own_broker.connected_device("aabbccddee02")

    started = time.monotonic()
    assert await own_broker.control.apply_crl(own_broker.authority.revoke(credential))
    assert await own_broker.control.disconnect(["aabbccddee01"]) == 1
    assert device.disconnect_reason() in ENDED
    assert time.monotonic() - started < 2

    assert refused(lambda: own_broker.device(credential).connect("aabbccddee01"))
    assert other.publish("tele/f2-aabbccddee02/a") < 128


async def test_a_revoked_device_does_not_return_by_resuming_its_tls_session(own_broker):
    credential = own_broker.authority.issue("aabbccddee01")
    first = own_broker.device(credential)
    first.connect("aabbccddee01")

    await own_broker.control.apply_crl(own_broker.authority.revoke(credential))

    assert refused(lambda: own_broker.device(credential, resume=first).connect("aabbccddee01"))


async def test_a_tls_1_2_session_resumed_after_revocation_costs_a_restart_and_is_worth_nothing_then(
    own_broker,
):
    credential = own_broker.authority.issue("aabbccddee01")
    first = own_broker.device(credential, tls=ssl.TLSVersion.TLSv1_2)
    first.connect("aabbccddee01")
    await own_broker.control.apply_crl(own_broker.authority.revoke(credential))
    await own_broker.control.disconnect(["aabbccddee01"])

    resumed = own_broker.device(credential, tls=ssl.TLSVersion.TLSv1_2, resume=first)
    with contextlib.suppress(OSError):
        resumed.connect("aabbccddee01")
    await asyncio.wait_for(own_broker.server.process.wait(), 5)
    assert own_broker.server.restart_asked
    await own_broker.server.start()

    assert refused(
        lambda: own_broker.device(credential, tls=ssl.TLSVersion.TLSv1_2, resume=first).connect(
            "aabbccddee01"
        )
    )


async def test_a_device_that_was_not_put_off_resumes_without_a_restart(own_broker):
    credential = own_broker.authority.issue("aabbccddee02")
    first = own_broker.device(credential, tls=ssl.TLSVersion.TLSv1_2)
    first.connect("aabbccddee02")
    await own_broker.control.disconnect(["aabbccddee01"])

    again = own_broker.device(credential, tls=ssl.TLSVersion.TLSv1_2, resume=first)
    again.connect("aabbccddee02")
    await own_broker.control.disconnect(["nobody"])

    assert again.publish("tele/f2-aabbccddee02/a") < 128
    assert not own_broker.server.restart_asked


async def test_two_revocations_in_one_second_both_count(own_broker):
    credentials = [own_broker.authority.issue(f"aabbccddee0{n}") for n in range(3)]
    for credential in credentials:
        await own_broker.control.apply_crl(own_broker.authority.revoke(credential))
    await own_broker.control.disconnect(["nobody"])

    attempts = [partial(connect, own_broker, revoked) for revoked in credentials]
    assert all(refused(attempt) for attempt in attempts)


async def test_a_thousand_devices_leave_in_one_call(own_broker):
    devices = [own_broker.service(f"device-{n}") for n in range(300)]

    started = time.monotonic()
    await own_broker.control.disconnect([f"device-{n}" for n in range(1000)])

    assert time.monotonic() - started < 5
    assert {device.disconnect_reason() for device in devices} <= ENDED


async def restart(broker):
    broker.server.ask_restart("test")
    await asyncio.wait_for(broker.server.process.wait(), 10)
    await broker.server.start()


async def test_a_new_password_counts_after_a_restart_and_the_old_one_no_more(own_broker):
    old = own_broker.server.access
    own_broker.service("old")
    own_broker.server.endpoints.service_password_file.write_text("another\n")
    await restart(own_broker)

    def taken(password):
        answer = own_broker.stranger().connect("probe", username="iotistic", password=password)
        return answer.reason == CONNECTED

    assert taken("another")
    assert not taken(old.password)


async def test_a_restart_that_was_asked_for_keeps_sessions_and_what_waits_for_them(own_broker):
    reader = own_broker.service("reader", clean_start=False, session_expiry_s=60)
    reader.subscribe("tele/#")
    reader.close()
    own_broker.service("writer").publish("tele/x", b"waiting")
    await restart(own_broker)

    reader = own_broker.service("reader", clean_start=False, session_expiry_s=60)

    assert reader.receive().payload == b"waiting"
    assert not own_broker.server.restart_asked


async def test_control_without_a_running_broker_leaves_the_list_for_the_next_start(own_broker):
    pem = own_broker.authority.write_crl()
    await own_broker.server.stop()

    assert not await own_broker.control.apply_crl(pem)
    assert own_broker.server.config.files.crl.read_bytes() == pem


async def test_a_pid_file_that_names_another_program_is_not_signalled(own_broker):
    files = own_broker.server.config.files
    assert running_broker(files) == own_broker.server.process.pid

    files.pid.write_text("1")
    assert running_broker(files) is None


@pytest.mark.parametrize("content", ["", "garbage", "-1", "99999999"])
async def test_a_broken_pid_file_means_no_broker(own_broker, content):
    own_broker.server.config.files.pid.write_text(content)

    assert running_broker(own_broker.server.config.files) is None


async def test_revocations_put_nobody_else_off(own_broker):
    device = own_broker.connected_device("aabbccddee01")
    service = own_broker.service("service")
    for n in range(3):
        await own_broker.control.apply_crl(
            own_broker.authority.revoke(own_broker.authority.issue(f"aabbccddee1{n}"))
        )

    await own_broker.control.disconnect(["nobody"])

    assert device.publish("tele/f2-aabbccddee01/a") < 128
    assert service.publish("tele/x") < 128


async def test_the_services_password_opens_nothing_on_the_device_listener(own_broker):
    access = own_broker.server.access
    assert refused(
        lambda: own_broker.device(None).connect("x", username=access.username, password=access.password)
    )
