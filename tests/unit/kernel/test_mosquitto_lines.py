"""What the broker's log lines mean; the lines are those of 2.0.11 and of later 2.0 versions."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.kernel.mosquitto.config import DEVICE_PATTERNS
from iotistic.kernel.mosquitto.lines import LineReader
from iotistic.kernel.mosquitto.passwords import password_line

OPENED = "New connection from 10.0.0.9:4711 on port 8883."
MAC = "aabbccddee01"
IDENTIFIED = f"New client connected from 10.0.0.9:4711 as {MAC} (p5, c1, k60, u'{MAC}')."


def read(*lines):
    reader = LineReader(device_port=8883, patterns=DEVICE_PATTERNS)
    return [event for line in lines if (event := reader.read(line))]


@pytest.mark.parametrize(
    ("tls_error", "reason"),
    [
        ("error:0A0000C7:SSL routines::peer did not return a certificate", "certificate_missing"),
        ("error:0A000086:SSL routines::certificate verify failed", "certificate_rejected"),
        ("error:0A00010B:SSL routines::wrong version number", "tls_expected"),
        ("error:0A000418:SSL routines::tlsv1 alert unknown ca", "broker_not_trusted"),
        ("error:0A000102:SSL routines::unsupported protocol", "tls_failed"),
    ],
)
@pytest.mark.parametrize(
    "ending",
    [
        "Client <unknown> disconnected: Protocol error.",
        "Client <unknown> [10.0.0.9:4711] disconnected due to protocol error.",
        "Client <unknown> (10.0.0.9:4711) disconnected: certificate verify failed.",
    ],
)
def test_a_refused_handshake_is_one_event_with_reason_and_address(tls_error, reason, ending):
    [event] = read(OPENED, f"OpenSSL Error[0]: {tls_error}", ending)

    assert event.name == "broker.client_refused"
    assert event.level == "warning"
    assert event.fields["reason"] == reason
    assert event.fields["address"] == "10.0.0.9:4711"


def test_the_one_line_that_later_versions_write_for_a_refused_handshake_is_read():
    why = "error:0A000086:SSL routines::certificate verify failed"
    [event] = read(OPENED, f"Client connection from 10.0.0.9 failed: {why}.")

    assert event.name == "broker.client_refused"
    assert event.fields == {"reason": "certificate_rejected", "address": "10.0.0.9", "detail": why}


def test_the_address_is_left_out_when_two_connections_could_be_meant():
    other = "New connection from 10.0.0.8:1 on port 8883."
    [event] = read(
        OPENED, other, "OpenSSL Error[0]: x:certificate verify failed", "Client <unknown> disconnected: x."
    )

    assert "address" not in event.fields


def test_a_wrong_password_is_bad_credentials():
    [event] = read("Client <unknown> disconnected, not authorised.")

    assert event.fields["reason"] == "bad_credentials"


def test_a_peer_that_goes_away_in_the_handshake_is_no_refusal():
    gone = "OpenSSL Error[0]: error:0A000126:SSL routines::unexpected eof while reading"
    events = read(OPENED, gone, "Client <unknown> disconnected: Protocol error.", OPENED,
                  "Client <unknown> disconnected: Protocol error.")  # fmt: skip

    assert [event.name for event in events] == ["broker.client_disconnected", "broker.client_refused"]


def test_a_device_whose_connection_breaks_off_is_not_reported_as_refused():
    ended = "OpenSSL Error[0]: error:0A000126:SSL routines::unexpected eof while reading"
    *_, event = read(OPENED, IDENTIFIED, ended, f"Client {MAC} closed its connection.")

    assert event.name == "broker.client_disconnected"


def test_a_denied_publish_names_topic_and_rule():
    denied = f"Denied PUBLISH from {MAC} (d0, q1, r0, m1, 'tele/f2-0a/it's, (odd)', ... (2 bytes))"
    _, event = read(OPENED, IDENTIFIED, denied)

    assert event.name == "broker.acl_denied"
    assert event.fields["topic"] == "tele/f2-0a/it's, (odd)"
    assert "pattern write tele/f2-%u/#" in event.fields["rule"]


@pytest.mark.parametrize(
    "topic_filter", ["#", "cmnd/#", "cmnd/f2-aabbccddee02/#", "cmnd/+/x", "tele/f2-aabbccddee01/#"]
)
def test_a_device_that_subscribes_beyond_its_own_commands_is_reported(topic_filter):
    _, event = read(OPENED, IDENTIFIED, f"{MAC} 1 {topic_filter}")

    assert event.fields["rule"] == "pattern read cmnd/f2-%u/#"
    assert event.fields["topic"] == topic_filter


def test_a_device_that_subscribes_to_its_own_commands_is_not_reported():
    assert len(read(OPENED, IDENTIFIED, f"{MAC} 1 cmnd/f2-{MAC}/#")) == 1


def test_a_service_may_subscribe_to_everything():
    service = "New client connected from 127.0.0.1:1 as ingest (p5, c0, k60, u'iotistic')."
    assert len(read("New connection from 127.0.0.1:1 on port 1883.", service, "ingest 1 #")) == 1


@given(st.lists(st.text(max_size=80) | st.just(OPENED) | st.just(IDENTIFIED)))
def test_no_line_breaks_the_reader(lines):
    read(*lines, "Client <unknown> disconnected: x.", "Client  disconnected.")


def test_the_password_file_holds_what_mosquitto_passwd_writes():
    name, _, hashed = password_line("iotistic", "secret").strip().partition(":")
    _, kind, iterations, salt, digest = hashed.split("$")
    expected = hashlib.pbkdf2_hmac("sha512", b"secret", base64.b64decode(salt), int(iterations))

    assert (name, kind) == ("iotistic", "7")
    assert base64.b64decode(digest) == expected
