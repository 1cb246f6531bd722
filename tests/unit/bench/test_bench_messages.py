"""The load that benchmarks publish is what the product accepts, message for message."""

import time

import numpy as np
import pytest
from benchmarks.load import LoadStalled, count_acknowledgements
from benchmarks.messages import MessageStream

from iotistic.kernel.mqtt.cutting import cut
from iotistic.kernel.mqtt.deliveries import Delivery
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Messages
from iotistic.telemetry.transports.buffer import Buffer, BufferLimits


def decoded(stream: MessageStream, times_us: np.ndarray):
    octets = bytes(stream.chunk(np.arange(len(times_us)) + 1, times_us))
    found = cut(octets)
    assert found.consumed == len(octets)
    messages = Messages(found.messages.topics(), found.messages.payloads(), int(times_us[-1]))
    return Decoder().decode(messages)


@pytest.mark.parametrize("kind", ["json", "json-tele"])
def test_json_messages_decode_to_one_reading_each_that_bears_its_time(kind):
    times_us = time.time_ns() // 1000 + np.arange(2000) * 777

    found = decoded(MessageStream(kind, series=240, devices=10, protocol=5), times_us)

    assert found.failures == []
    assert sorted(np.concatenate([part.time_us for part in found.values])) == times_us.tolist()
    assert len(np.unique(np.concatenate([part.series for part in found.values]))) == 240


def test_modbus_messages_hold_frames_with_a_valid_checksum():
    times_us = time.time_ns() // 1000 + np.arange(1000)

    found = decoded(MessageStream("modbus", series=240, devices=10, protocol=5), times_us)

    assert found.failures == []
    assert sum(len(part.time_us) for part in found.frames) == 1000


def test_times_are_right_across_the_turn_of_a_second():
    stream = MessageStream("json", series=10, devices=10, protocol=5)
    times_us = 1_790_000_000_000_000 + np.array([-2, -1, 0, 1])

    found = decoded(stream, times_us)

    assert np.concatenate([part.time_us for part in found.values]).tolist() == times_us.tolist()


def test_acknowledgements_of_both_lengths_are_counted_and_a_cut_one_is_kept():
    whole = bytes.fromhex("40020001400300021040020003")

    assert count_acknowledgements(whole) == (3, b"")
    assert count_acknowledgements(whole[:-1]) == (2, whole[9:-1])
    assert count_acknowledgements(b"\x40\x02\x00\x01\x40") == (1, b"\x40")


def test_a_refused_message_stops_the_load():
    with pytest.raises(LoadStalled, match="40 03 00 02 87"):
        count_acknowledgements(bytes.fromhex("4003000287"))


@pytest.mark.parametrize("epoch", [0, 0x7E7E7E7E7E], ids=["now", "of the bytes that mark a number"])
@pytest.mark.parametrize("stamp", ["data", "properties", "pair", "json"])
def test_stamped_messages_number_every_device_from_one(stamp, epoch):
    stream = MessageStream("json", series=20, devices=10, protocol=5, stamp=stamp, epoch=epoch)
    times_us = time.time_ns() // 1000 + np.arange(35)
    part = cut(bytes(stream.chunk(np.arange(35) + 1, times_us))).messages
    buffer = Buffer(BufferLimits())
    buffer.add(Delivery((part,), 1))
    found = Decoder().decode(buffer.take()[0])

    assert found.failures == []
    assert found.deliveries is not None
    assert found.deliveries.refused == 0
    assert found.deliveries.sequence.tolist() == [place // 10 + 1 for place in range(35)]
    assert found.deliveries.source[:2] == ["key:d00000", "key:d00001"]
