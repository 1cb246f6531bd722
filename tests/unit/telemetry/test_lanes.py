"""Lanes have their own names everywhere, and what goes through the backlog's looks like anything else behind it."""

import pytest

from iotistic.contracts.backlog import PREFIX, ask_topic
from iotistic.contracts.mac import Mac
from iotistic.kernel.mqtt.cutting import cut
from iotistic.kernel.mqtt.packets import encode_publish
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Messages
from iotistic.telemetry.transports.kafka.raw_records import RawEncoder
from iotistic.telemetry.transports.lanes import LIVE_FILTERS, Lane

ASKING = ask_topic(Mac("aabbccddee01")).encode()


def cut_topics(lane, *topics):
    octets = b"".join(encode_publish(topic, b"1", packet_id=1, qos=1) for topic in topics)
    return cut(octets).messages.beyond(lane.prefix).topics()


def test_the_live_lane_keeps_the_names_it_always_had():
    assert Lane.LIVE.worker("ingest", 2) == "ingest-2"
    assert Lane.LIVE.named("raw-iot-data") == "raw-iot-data"
    assert Lane.LIVE.subscriptions("ingest", alone=True)[0] == LIVE_FILTERS


def test_the_backlog_shares_no_session_no_group_and_no_topic_with_live_readings():
    assert Lane.BACKLOG.worker("ingest", 0) == "ingest-backlog-0"
    assert Lane.BACKLOG.named("raw-iot-data") == "raw-iot-data-backlog"
    assert Lane.BACKLOG.subscriptions("ingest", alone=False) == (
        ("$share/ingest-backlog/backlog/#",),
        ("backlog/#",),
    )


@pytest.mark.parametrize("lane", Lane)
def test_a_worker_that_gets_company_leaves_the_subscription_it_had_alone(lane):
    wanted, ended = lane.subscriptions("ingest", alone=True)

    assert (ended, wanted) == lane.subscriptions("ingest", alone=False)


def test_the_prefix_of_a_backlog_ends_at_the_socket():
    topics = (b"tele/f2-aabbccddee01/alarm-mode/J1/siren-1", b"sensor/a/b")

    assert cut_topics(Lane.BACKLOG, *(PREFIX.encode() + topic for topic in topics)) == list(topics)
    assert cut_topics(Lane.LIVE, *topics) == list(topics)


def test_the_level_above_all_backlogs_which_the_filter_matches_too_is_no_topic_at_all():
    assert cut_topics(Lane.BACKLOG, PREFIX.rstrip("/").encode()) == [b""]


@pytest.mark.parametrize("payload", [b'{"waiting": 3600}', b"\xff", b""])
def test_a_question_about_a_backlog_is_no_telemetry(payload):
    decoded = Decoder().decode(Messages([ASKING], [payload], 1_795_255_200_000_000))

    assert (decoded.values, decoded.texts, decoded.failures, decoded.deliveries) == ([], [], [], None)


def test_a_question_about_a_backlog_stays_with_its_device_in_kafka():
    keys, _ = RawEncoder().encode(Messages([ASKING], [b'{"waiting": 1}'], 1_795_255_200_000_000))

    assert keys == [b"f2-aabbccddee01"]
