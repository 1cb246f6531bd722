"""What a fault run takes for healed, and what its devices remember."""

import json

import pytest
from benchmarks.fault_account import healing_table
from benchmarks.fault_devices import Clock, Device
from benchmarks.fault_watch import Fault

from iotistic.kernel.mqtt.packets import Publish


@pytest.fixture
def fault():
    return Fault("sink", {"mac:a": 5, "mac:b": 7}, at=100.0, at_us=1_000)


def test_readings_flow_again_once_a_later_message_of_every_device_is_stored(fault):
    fault.note({"mac:a": 1_001, "mac:b": 1_000}, {}, 101.0)
    assert fault.flowing_s is None

    fault.note({"mac:a": 1_009, "mac:b": 1_002}, {}, 102.5)
    fault.note({"mac:a": 2_000, "mac:b": 2_000}, {}, 103.0)
    assert (fault.flowing_s, fault.healed) == (2.5, False)


def test_all_is_whole_again_once_nothing_from_before_is_missing_of_any_device(fault):
    fault.note({}, {"mac:a": 9, "mac:b": 6}, 101.0)
    assert fault.whole_s is None

    fault.note({}, {"mac:a": 9, "mac:b": 7}, 104.0)
    assert fault.whole_s == 4.0


def test_the_table_has_a_line_for_each_thing_that_was_broken_and_one_for_all():
    faults = [
        Fault(what, {}, flowing_s=at, whole_s=2 * at)
        for what, at in (("redis", 1), ("kafka", 8), ("kafka", 4))
    ]
    lines = [line.split() for line in healing_table(faults).splitlines()]

    assert lines[1:] == [
        ["kafka", "2", "4.00", "8.00", "8.00", "8.00", "16.00", "16.00"],
        ["redis", "1", "1.00", "1.00", "1.00", "2.00", "2.00", "2.00"],
        ["all", "3", "4.00", "8.00", "8.00", "8.00", "16.00", "16.00"],
    ]


def test_no_two_times_of_a_clock_are_equal():
    clock = Clock()
    times = [clock.now_us() for _ in range(1000)]

    assert len(set(times)) == 1000
    assert times == sorted(times)


def told(device, verb, message):
    topic, payload = f"cmnd/f2-{device.mac}/{verb}".encode(), json.dumps(message).encode()
    device.message(device.client, Publish(topic, payload, qos=1, retain=False, dup=False, packet_id=1))


def test_a_device_forgets_what_is_confirmed_sends_again_what_is_missing_and_says_what_is_gone():
    device = Device(0, ("localhost", 1), b"", None)
    for at_us in range(1, 7):
        device.publish(at_us)
    epoch = device._epoch
    device._waiting.clear()
    told(device, "receipt", {"epoch": epoch, "sent": 4, "missing": [[2, 3]]})
    told(device, "resend", {"epoch": epoch, "ranges": [[1, 3]]})
    told(device, "resend", {"epoch": epoch, "ranges": [[2, 2]]})

    answers = [json.loads(m.payload) for m in device.client._outbox._waiting if m.topic.endswith(b"/resend")]
    assert sorted(device._kept) == [2, 3, 5, 6]
    assert device.resent == 2
    assert answers[0].items() >= {"epoch": epoch, "again": [[2, 2], [3, 3]], "gone": [[1, 1]]}.items()
    assert list(device.expected()) == [(1, 1), (2, 2), (3, 1), (4, 1), (5, 2), (6, 1)]
