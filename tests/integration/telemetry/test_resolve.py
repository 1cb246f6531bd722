"""Resolving against real metadata: adopting, refusing, hearing of changes."""

import asyncio

import pytest
from ingest_builders import NOW, Stages

from iotistic.contracts.modbus import build_frame, format_frame
from iotistic.telemetry.resolve.directory import hear_changes
from iotistic.telemetry.resolve.model import UnknownPolicy

SENSOR = "tele/f2-aabbccddee01/sensor-mode/J2/sensor-3"
READING = ("sensor/gw-1/temperature", {"timestamp": NOW, "value": 21.5, "unit": "°C"})


def frame(*registers):
    data = b"".join(register.to_bytes(2, "big") for register in registers)
    return {"timestamp": NOW, "data": format_frame(build_frame(data.ljust(12, b"\0")))}


def reasons(resolved):
    return [letter.reason for letter in resolved.dead_letters]


async def test_an_unknown_device_is_adopted_with_its_label_and_unit(pool):
    resolved = await Stages(pool).resolve(READING)

    row = await pool.fetchrow(
        """SELECT d.id, d.externalkey, p.id AS datapoint, p.label, p.append FROM devices d
           JOIN device_datapoints s ON s.device_id = d.id JOIN datapoints p ON p.id = s.datapoint_id"""
    )
    assert (row["externalkey"], row["label"], row["append"]) == ("gw-1", "temperature", "°C")
    assert resolved.rows.device_id.tolist() == [row["id"]]
    assert resolved.rows.datapoint_id.tolist() == [row["datapoint"]]


async def test_every_datapoint_of_a_frame_becomes_a_row(pool):
    resolved = await Stages(pool).resolve((SENSOR, frame(2150, 4870, 612)))

    labels = {r["id"]: r["label"] for r in await pool.fetch("SELECT id, label FROM datapoints")}
    read = {
        labels[p]: v
        for p, v in zip(resolved.rows.datapoint_id.tolist(), resolved.rows.value.tolist(), strict=True)
    }
    assert read == {"temperature": 21.5, "humidity": 48.7, "co2": 612.0}
    assert set(resolved.rows.time_us.tolist()) == {NOW}
    on_pin = await pool.fetchval(
        """SELECT p.deviceid FROM pins p JOIN connectors c ON c.id = p.connectorid JOIN devices d ON d.id = c.controllerid
           WHERE d.macaddress = 'aabbccddee01' AND c.connectornumber = 2 AND p.position = 3"""
    )
    assert set(resolved.rows.device_id.tolist()) == {on_pin}


async def test_refusing_keeps_messages_of_the_unknown_and_registers_nothing(pool):
    stages = Stages(pool, UnknownPolicy.REFUSE)

    resolved = await stages.resolve(READING, (SENSOR, frame(1)))

    assert reasons(resolved) == ["resolve.device_unknown"] * 2
    assert resolved.dead_letters[0].topic == READING[0].encode()
    assert len(resolved.rows) == 0
    assert await pool.fetchval("SELECT count(*) FROM devices") == 0


async def test_refusing_names_the_missing_pin_and_label(pool):
    await Stages(pool).resolve(READING, (SENSOR, frame(1)))
    stages = Stages(pool, UnknownPolicy.REFUSE)

    resolved = await stages.resolve(
        ("sensor/gw-1/pressure", {"value": 1}), (SENSOR.replace("sensor-3", "sensor-4"), frame(1)), READING
    )

    assert reasons(resolved) == ["resolve.datapoint_unknown", "resolve.sensor_unknown"]
    assert len(resolved.rows) == 1


async def test_a_frame_that_is_too_short_for_the_template_is_kept(pool):
    stages = Stages(pool)
    await stages.resolve((SENSOR, frame(1)))
    short = {"timestamp": NOW, "data": build_frame(b"\0\1").hex()}

    resolved = await stages.resolve((SENSOR, short), (SENSOR, frame(1)))

    assert reasons(resolved) == ["decode.frame_short"]
    assert len(resolved.rows) == 3


async def test_a_sensor_of_an_unknown_kind_is_not_taken_for_a_climate_sensor(pool):
    power_meter = {"timestamp": NOW, "data": build_frame(bytes(6)).hex()}

    resolved = await Stages(pool).resolve((SENSOR, power_meter))

    assert reasons(resolved) == ["resolve.sensor_unknown"]
    assert await pool.fetchval("SELECT count(*) FROM pins") == 0


async def test_a_message_with_several_faults_is_one_dead_letter(pool):
    lines = ["{", "[", '{"registerName": "x", "value": 1}']

    resolved = await Stages(pool).resolve(("iot/device/d/sensor/m", {"messages": lines}))

    assert reasons(resolved) == ["decode.agent_line_invalid"]
    assert len(resolved.rows) == 1


async def test_a_second_batch_asks_the_database_nothing(pool):
    stages = Stages(pool)
    first = await stages.resolve(READING, (SENSOR, frame(1)))
    await pool.execute("DROP TABLE pins CASCADE")

    again = await stages.resolve(READING, (SENSOR, frame(1)))

    assert again.rows.device_id.tolist() == first.rows.device_id.tolist()


async def test_two_workers_adopt_the_same_things_once(pool):
    batch = [(f"tele/f2-aabbccddee{n:02x}/sensor-mode/J1/sensor-{n % 6 + 1}", frame(n)) for n in range(40)]
    batch += [(f"sensor/gw-{n}/t", {"value": n}) for n in range(40)]

    one, two = await asyncio.gather(Stages(pool).resolve(*batch), Stages(pool).resolve(*batch))

    assert sorted(one.rows.device_id.tolist()) == sorted(two.rows.device_id.tolist())
    assert await pool.fetchval("SELECT count(*) FROM devices") == 40 + 40 + 40


@pytest.fixture
async def listening(database, pool):
    stages = Stages(pool, UnknownPolicy.REFUSE)
    heard = asyncio.Event()

    def forget():
        stages.resolver.forget()
        heard.set()

    task = asyncio.create_task(hear_changes(database, forget))
    await asyncio.wait_for(heard.wait(), 10)
    heard.clear()
    yield stages, heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_device_registered_after_its_refusal_is_heard_of(listening, pool):
    stages, heard = listening
    assert reasons(await stages.resolve(READING)) == ["resolve.device_unknown"]

    await pool.execute(
        """WITH t AS (SELECT id FROM devicetemplates WHERE name = 'Generic JSON device'),
                d AS (INSERT INTO devices (devicename, devicetemplateid, externalkey) SELECT 'g', id, 'gw-1' FROM t)
           INSERT INTO datapoints (devicetemplateid, label) SELECT id, 'temperature' FROM t"""
    )
    await asyncio.wait_for(heard.wait(), 10)

    assert len((await stages.resolve(READING)).rows) == 1


async def test_changes_missed_while_the_connection_was_lost_are_not_missed_for_good(listening, pool):
    stages, heard = listening
    await stages.resolve(READING)

    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ingest-changes'"
        " AND datname = current_database()"
    )
    await asyncio.wait_for(heard.wait(), 10)

    assert reasons(await stages.resolve(READING)) == ["resolve.device_unknown"]


async def test_a_change_during_a_look_up_is_not_cached_away(pool):
    stages = Stages(pool)
    directory = stages.resolver._directory
    look_up = directory.look_up

    async def look_up_while_metadata_changes(refs, units):
        found = await look_up(refs, units)
        stages.resolver.forget()
        return found

    directory.look_up = look_up_while_metadata_changes
    assert len((await stages.resolve(READING)).rows) == 1
    directory.look_up = look_up
    await pool.execute("DELETE FROM devices")

    assert len((await stages.resolve(READING)).rows) == 1
    assert await pool.fetchval("SELECT count(*) FROM devices") == 1
