"""What the running broker takes over without a restart, and how a revoked device is put off."""

import time
from functools import partial

import pytest
from broker_fixtures import eventually

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

    eventually(lambda: refused(lambda: own_broker.device(credential, resume=first).connect("aabbccddee01")))


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


async def test_a_new_password_counts_after_a_reload_and_the_old_one_no_more(own_broker):
    old = own_broker.server.access
    own_broker.service("old")
    own_broker.server.endpoints.service_password_file.write_text("another\n")
    own_broker.server.reload()

    def taken(password):
        answer = own_broker.stranger().connect("probe", username="iotistic", password=password)
        return answer.reason == CONNECTED

    eventually(lambda: taken("another"))
    assert not taken(old.password)


async def test_new_access_rules_count_after_a_reload(own_broker):
    device = own_broker.connected_device("aabbccddee01")
    assert device.publish("tele/f2-aabbccddee01/a") < 128

    own_broker.server.config.files.acl.write_text("pattern write stat/f2-%u/#\n")
    own_broker.server.set_verbose(True)

    eventually(lambda: device.publish("tele/f2-aabbccddee01/a") >= 128)


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


async def test_a_reload_puts_nobody_off(own_broker):
    device = own_broker.connected_device("aabbccddee01")
    service = own_broker.service("service")
    for verbose in (False, True, False):
        own_broker.server.set_verbose(verbose)

    await own_broker.control.disconnect(["nobody"])

    assert device.publish("tele/f2-aabbccddee01/a") < 128
    assert service.publish("tele/x") < 128


async def test_the_services_password_opens_nothing_on_the_device_listener(own_broker):
    access = own_broker.server.access
    assert refused(
        lambda: own_broker.device(None).connect("x", username=access.username, password=access.password)
    )
