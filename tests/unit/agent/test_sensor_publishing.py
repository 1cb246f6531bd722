"""Readings gathered into letters, on a real outbox; and that the cloud's decoder reads what was published."""

import asyncio
import contextlib
import json

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.agent.sensors.publisher import Gathering, Publisher, SensorInvalid
from iotistic.agent.sensors.reading import Quality, Reading, ReadingInvalid, iso
from iotistic.agent.sensors.settings import SensorSettings
from iotistic.agent.store.errors import MessageTooLarge, StoreUnavailable
from iotistic.agent.store.store import Store
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Messages

UUID = "0f2d1c5a-7b1e-4c39-9d7e-1f0a3c2b4d5e"
NOW = 1_795_255_200.0


class Disk:
    """An outbox that refuses, or takes its time."""

    def __init__(self):
        self.letters = []
        self.refusing = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, letters):
        letters = list(letters)
        await self.gate.wait()
        if self.refusing is not None and any(self.refusing(letter) for letter in letters):
            raise self.fault
        self.letters += letters

    @property
    def lines(self):
        return [text for letter in self.letters for text in json.loads(letter.payload)["messages"]]


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


def reading(name="temperature", value=21.5, at=NOW, **more):
    return Reading(name, value, at=at, **more)


def values(lines):
    return [json.loads(text)["value"] for text in lines]


def decoded(letters):
    """Return what the ingest makes of letters: (label, value, microseconds), and its failures."""
    decoder = Decoder()
    topics, payloads = [one.topic.encode() for one in letters], [one.payload for one in letters]
    found = decoder.decode(Messages(topics, payloads, int(NOW * 1e6)))
    refs = decoder.series.refs
    rows = [
        (refs[series].device.key, refs[series].label, value, at)
        for column in found.values
        for series, value, at in zip(
            column.series.tolist(), column.value.tolist(), column.time_us.tolist(), strict=True
        )
    ]
    texts = [
        (refs[one.series].device.key, refs[one.series].label, one.text, one.time_us) for one in found.texts
    ]
    return rows + texts, found.failures


@contextlib.asynccontextmanager
async def running(publisher):
    task = asyncio.create_task(publisher.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met):
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.005)


async def test_twelve_polls_of_a_sensor_become_one_letter_of_the_outbox(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite", clock=lambda: NOW)
    publisher = Publisher(store.outbox.append, UUID, lambda: NOW)
    for number in range(25):
        await publisher.publish("modbus", [reading(value=number)])
    kept = await store.outbox.waiting()
    await store.close()

    assert [message.topic for message in kept] == [f"iot/device/{UUID}/sensor/modbus"] * 2
    assert [len(json.loads(message.payload)["messages"]) for message in kept] == [12, 12]
    assert json.loads(kept[0].payload)["sensor"] == "modbus"
    assert json.loads(kept[0].payload)["timestamp"] == iso(NOW)


def test_the_settings_gather_as_the_publisher_does_by_itself():
    assert SensorSettings().gathering == Gathering()


async def test_the_ingest_reads_what_was_published():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW)
    await publisher.publish("modbus", [reading("rpm", 1450, NOW - 2.000001, device="plc", unit="1/min")])
    await publisher.publish(
        "modbus",
        [
            reading("a", 1.5, NOW - 1, unit="°C"),
            reading("b", True, NOW - 1),
            reading("state", "läuft", NOW - 0.5, simulated=True),
        ],
    )
    await publisher.flush()

    rows, failures = decoded(disk.letters)
    us = int(NOW * 1e6)
    assert failures == []
    assert sorted(rows, key=str) == [
        (UUID, "modbus/a", 1.5, us - 1_000_000),
        (UUID, "modbus/b", 1.0, us - 1_000_000),
        (UUID, "modbus/plc/rpm", 1450.0, us - 2_000_001),
        (UUID, "modbus/state", "läuft", us - 500_000),
    ]


async def test_readings_without_a_value_are_counted_and_harm_nobody():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW)
    await publisher.publish("modbus", [reading("a", None, quality=Quality.BAD), reading("b", 2.0)])
    await publisher.publish("modbus", [reading("a", None, quality=Quality.BAD)])
    await publisher.flush()

    rows, failures = decoded(disk.letters)
    assert [row[1] for row in rows] == ["modbus/b"]
    assert failures == []
    assert (publisher.counts.readings, publisher.counts.without_value) == (1, 2)


async def test_a_batch_that_is_not_full_goes_when_its_time_has_come():
    disk, clock = Disk(), Clock()
    publisher = Publisher(disk.append, UUID, clock, Gathering(within_s=60))
    async with running(publisher):
        await publisher.publish("modbus", [reading(value=1.0)])
        await asyncio.sleep(0)
        clock.now += 61
        await publisher.publish("other", [reading(value=2.0)])  # wakes it, as a timer would
        await until(lambda: disk.letters)

        assert values(disk.lines) == [1.0]

    assert values(disk.lines) == [1.0, 2.0]


async def test_a_clock_that_is_set_back_keeps_no_batch_waiting():
    disk, clock = Disk(), Clock()
    publisher = Publisher(disk.append, UUID, clock, Gathering(within_s=0.05))
    async with running(publisher):
        clock.now += 1e6
        await publisher.publish("modbus", [reading()])
        clock.now -= 1e6
        await publisher.publish("other", [reading()])
        await asyncio.sleep(0)
        clock.now += 0.06
        await until(lambda: len(disk.letters) == 2)


async def test_what_comes_while_a_write_is_under_way_is_not_lost():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW, Gathering(messages=2))
    disk.gate.clear()
    publishing = [
        asyncio.create_task(publisher.publish("modbus", [reading(value=number)])) for number in range(11)
    ]
    await asyncio.sleep(0.01)
    disk.gate.set()
    await asyncio.gather(*publishing)
    await publisher.flush()

    assert values(disk.lines) == list(range(11))


async def test_a_caller_that_is_cancelled_takes_no_write_back():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW, Gathering(messages=1))
    disk.gate.clear()
    publishing = asyncio.create_task(publisher.publish("modbus", [reading(value=1)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    disk.gate.set()
    await publisher.publish("modbus", [reading(value=2)])
    await publisher.flush()

    assert values(disk.lines) == [1, 2]


async def test_letters_wait_for_a_disk_that_takes_no_writes_and_keep_their_order():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW, Gathering(messages=1))
    disk.refusing, disk.fault = (lambda _letter: True), StoreUnavailable("full")
    for number in range(5):
        await publisher.publish("modbus", [reading(value=number)])
    refused = list(disk.letters)
    disk.refusing = None
    await publisher.publish("modbus", [reading(value=5)])

    assert refused == []
    assert values(disk.lines) == list(range(6))


async def test_past_its_bound_a_sensor_loses_its_own_oldest_letters_and_they_are_counted():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW, Gathering(messages=1, most_bytes=4096))
    disk.refusing, disk.fault = (lambda _letter: True), StoreUnavailable("full")
    with structlog.testing.capture_logs() as said:
        await publisher.publish("other", [reading(value=-1)])
        for number in range(200):
            await publisher.publish("modbus", [reading(value=number)])
    disk.refusing = None
    await publisher.flush()

    found = values(disk.lines)
    assert sum(len(letter.payload) for letter in disk.letters if "modbus" in letter.topic) <= 4096
    assert found[0] == -1
    assert found[1:] == list(range(200 - len(found[1:]), 200))
    assert publisher.counts.dropped_letters == 200 - len(found[1:])
    assert len(said) < 12


async def test_a_letter_that_the_outbox_refuses_costs_no_other():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW, Gathering(messages=1))
    disk.gate.clear()
    disk.refusing, disk.fault = (lambda letter: b'"value\\":13' in letter.payload), MessageTooLarge()
    publishing = [
        asyncio.create_task(publisher.publish("modbus", [reading(value=number)]))
        for number in (11, 12, 13, 14)
    ]
    await asyncio.sleep(0.01)
    disk.gate.set()
    await asyncio.gather(*publishing)

    assert values(disk.lines) == [11, 12, 14]
    assert publisher.counts.dropped_letters == 1


async def test_a_poll_of_hundreds_of_readings_is_spread_over_lines():
    disk = Disk()
    publisher = Publisher(disk.append, UUID, lambda: NOW)
    await publisher.publish("opcua", [reading(f"p{number}", number) for number in range(250)])
    await publisher.flush()

    assert [len(json.loads(text)["readings"]) for text in disk.lines] == [100, 100, 50]
    assert len(decoded(disk.letters)[0]) == 250


@pytest.mark.parametrize("sensor", ["", "a/b", "a+", "#", "a\nb", "a\0", "x" * 65, "\ud800"])
async def test_a_sensor_whose_name_cannot_be_in_a_topic_is_refused(sensor):
    publisher = Publisher(Disk().append, UUID, lambda: NOW)

    with pytest.raises((SensorInvalid, ReadingInvalid)):
        await publisher.publish(sensor, [reading()])


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a\tb"},
        {"name": "x" * 65},
        {"device": "\ud800"},
        {"value": float("nan")},
        {"value": float("-inf")},
        {"value": 10**400},
        {"value": "a\0"},
        {"value": "\udfff"},
        {"value": "x" * 1024},
        {"unit": "\ud800"},
        {"unit": "x" * 65},
        {"at": -1.0},
        {"at": float("nan")},
        {"at": 1e12},
    ],
    ids=lambda fields: "-".join(map(repr, fields)),
)
def test_a_reading_that_the_cloud_would_not_take_is_refused_where_it_is_made(fields):
    with pytest.raises(ReadingInvalid):
        Reading(**{"name": "a", "value": 1.0, **fields})


names = st.text(min_size=1, max_size=64).filter(str.isprintable)
scalars = (
    st.floats(-1e15, 1e15)
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=1023)
)
readings = st.builds(
    Reading,
    name=names,
    value=scalars,
    unit=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=64),
    at=st.floats(NOW - 86_400, NOW),
    quality=st.sampled_from(Quality),
    device=st.just("") | names,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(readings, min_size=1, max_size=5), min_size=1, max_size=6))
def test_whatever_can_be_read_arrives_as_it_was(polls):
    async def publish():
        disk = Disk()
        publisher = Publisher(disk.append, UUID, lambda: NOW, Gathering(messages=3))
        for poll in polls:
            await publisher.publish("läufer 1", poll)
        await publisher.flush()
        return disk.letters

    rows, failures = decoded(asyncio.run(publish()))

    expected = (
        sorted(
            (
                "/".join(part for part in ("läufer 1", one.device, one.name) if part),
                one.value if isinstance(one.value, str) else float(one.value),
            )
            for poll in polls
            for one in poll
            if not isinstance(one.value, str)
        ),
        sorted(one.value for poll in polls for one in poll if isinstance(one.value, str)),
    )
    assert failures == []
    assert expected == (
        sorted(row[1:3] for row in rows if not isinstance(row[2], str)),
        sorted(row[2] for row in rows if isinstance(row[2], str)),
    )


acts = st.sampled_from(
    ["publish", "publish", "publish", "cancel", "refuse", "accept", "hold", "let go", "wait"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(acts, max_size=60), st.integers(1, 5))
def test_whatever_the_disk_and_callers_do_nothing_is_lost_doubled_or_out_of_order(script, messages):
    async def play():
        disk, sent, calls = Disk(), [], []
        disk.fault = StoreUnavailable("full")
        publisher = Publisher(disk.append, UUID, lambda: NOW, Gathering(messages=messages))

        async def publish():
            sent.append(len(sent))
            await publisher.publish("modbus", [reading(value=sent[-1])])

        acting = {
            "publish": lambda: calls.append(asyncio.create_task(publish())),
            "cancel": lambda: [call.cancel() for call in calls[-1:]],
            "refuse": lambda: setattr(disk, "refusing", lambda _letter: True),
            "accept": lambda: setattr(disk, "refusing", None),
            "hold": disk.gate.clear,
            "let go": disk.gate.set,
            "wait": lambda: None,
        }
        for act in script:
            acting[act]()
            await asyncio.sleep(0)
        disk.refusing = None
        disk.gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        await publisher.flush()
        return sent, values(disk.lines)

    sent, kept = asyncio.run(play())

    assert kept == sent
