"""Random and mutated messages through the real broker and worker: none lost, none fatal. BAD_MESSAGES says how many."""

import json
import os
import random
from pathlib import Path

import pytest
from fault_tools import metric, service_connection, site, until

from iotistic.kernel.mqtt.packets import PacketReader, Puback, encode_publish

MESSAGES = int(os.environ.get("BAD_MESSAGES", "25000"))
CASES = Path(__file__).parents[1] / "cases" / "telemetry"
LEVELS = [
    *("stat", "tele", "sensor", "iot", "device", "f2-aabbccddee01", "f2-AABB", "sensor-mode", "alarm-mode"),
    *("access-control-mode", "J1", "J4", "J9", "sensor-1", "siren-1", "reader-1", "", "é", "x" * 300),
]


def mutated(chance, octets):
    octets = bytearray(octets)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(octets) + 1)
        match chance.randrange(4):
            case 0:
                octets[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del octets[at : at + chance.randint(1, 8)]
            case 2:
                octets[at:at] = chance.choice(
                    [b"{", b"}", b'"', b"[", b",", b"\0", b"1e400", b"null", b"\xff"]
                )
            case _:
                octets += octets[:at]
    return bytes(octets)


def messages(seed):
    """Yield (topic, payload): cases as they are, cases mutated, and noise on topics that reach the worker."""
    chance = random.Random(seed)
    cases = [json.loads(path.read_text()) for path in sorted(CASES.glob("*.json"))]
    while True:
        case = chance.choice(cases)
        topic, payload = case["topic"], case["payload"].encode()
        if chance.random() < 0.3:
            topic = chance.choice(["stat/", "tele/", "sensor/"]) + "/".join(
                chance.choices(LEVELS, k=chance.randint(1, 6))
            )
        if chance.random() < 0.2:
            payload = chance.randbytes(chance.randrange(200))
        elif chance.random() < 0.7:
            payload = mutated(chance, payload)
        yield topic.encode(), payload


@pytest.mark.slow
def test_every_one_of_thousands_of_random_messages_is_stored_or_kept_with_its_reason():
    with site() as running, service_connection(running, "fuzz") as sock:
        worker = running.children()["ingest"]
        reader, unsettled, source = PacketReader(), 0, messages(seed=11)
        for number in range(MESSAGES):
            topic, payload = next(source)
            sock.sendall(encode_publish(topic, payload, packet_id=number % 60_000 + 1, qos=1))
            unsettled += 1
            while unsettled > 5000 or (number == MESSAGES - 1 and unsettled):
                unsettled -= sum(isinstance(p, Puback) for p in reader.feed(sock.recv(65536)))

        until(lambda: metric(running, "iotistic_ingest_messages_total") >= MESSAGES, 60)
        names = ("rows", "duplicate_rows", "events", "dead_letters")
        told = {name: metric(running, f"iotistic_ingest_{name}_total") for name in names}
        assert sum(told.values()) >= MESSAGES
        assert told["dead_letters"] > MESSAGES / 10
        assert told["rows"] + told["duplicate_rows"] > MESSAGES / 10
        assert running.children()["ingest"] == worker
        summary = running.api.get("/api/v1/telemetry/dead-letters/summary").json()
        assert summary["open"] == told["dead_letters"]
        assert all("." in row["reason"] for row in summary["items"])
        assert "ingest.fault" not in {row["reason"] for row in summary["items"]}
