"""Many rows at once: whoever changes them takes them in one order, or leaves those that somebody is at."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from uuid import UUID

import pytest
from lock_circles import another

from iotistic.control.accounts import session_repository
from iotistic.control.agentupdates import rows as update_rows
from iotistic.control.alerts import stream_rows
from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.alerts.service import AlertService
from iotistic.control.alerts.settings import AlertSettings
from iotistic.control.anomalies import series_rows
from iotistic.control.anomalies.settings import AnomalyDeskSettings
from iotistic.control.anomalies.teaching import AnomalyKeeper
from iotistic.control.audit.partitions import Partitions
from iotistic.control.audit.settings import AuditSettings
from iotistic.control.broker.brokers import BrokerService
from iotistic.control.devices import removal
from iotistic.control.devices.ageing import KeyAgeing
from iotistic.control.devices.lifecycle import Act, Lifecycle
from iotistic.control.devices.service import DeviceKeySettings, DeviceService, utc_now
from iotistic.control.jobs import catalogue_rows, due_parts
from iotistic.control.presence import repository as presence_rows
from iotistic.control.rollouts import repository as rollout_rows
from iotistic.control.rollouts.model import Part, PartState
from iotistic.control.rollouts.service import _LOCK_OLDER
from iotistic.control.rollouts.targets import put_targets
from iotistic.control.states.model import first_target
from iotistic.control.states.service import StateService
from iotistic.control.upkeep import repository as upkeep_rows

A, B = (f"{letter}0000000-0000-4000-8000-000000000000" for letter in "ab")
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
EVERYBODY = SimpleNamespace(
    name="somebody", scope=SimpleNamespace(sees=lambda uuid: True, parameter=lambda: None)
)
# Later rows first: whoever takes them as they lie in the table takes them in the wrong order.
DEVICES = f"""
INSERT INTO fleet_devices (uuid, name, type, fleet_id) VALUES ('{B}', 'b', 'pi', 'hall'), ('{A}', 'a', 'pi', 'hall');
UPDATE device_presence SET is_online = true, lease_until = now() + interval '1 hour' WHERE device_uuid = '{B}';
UPDATE device_presence SET is_online = true, lease_until = now() + interval '1 hour' WHERE device_uuid = '{A}';
INSERT INTO device_targets VALUES ('{A}', 1, '{{"apps": {{}}, "config": {{}}, "version": 1}}', 'e', now(), 'test',
                                   '{{"apps": {{}}, "config": {{}}}}', now(), 'test');
"""


@pytest.fixture
async def somebody(database, connection):
    await connection.execute(DEVICES)
    async with another(database) as other:
        yield other


@pytest.fixture
async def parts(somebody, connection):
    """Two jobs of one template, the later one first; the first has parts on both devices."""
    await connection.execute(f"""
        INSERT INTO job_templates VALUES ('{A}', 'one', '', '', '{{}}', true, 'test', now(), now());
        INSERT INTO job_executions (id, name, document, template_id, selection, timeout_s, wait_s, attempts, backoff_s,
            execution_type, starts_at, created_by, created_at)
        SELECT id, 'one', '{{}}', '{A}', '{{}}', 9, 9, 1, 9, 'oneTime', now(), 'test', now()
        FROM unnest('{{{B},{A}}}'::uuid[]) id;
        INSERT INTO device_job_status (job_id, device_uuid, queued_at, available_at, deadline, notify_at)
        SELECT '{A}', uuid, now(), now() - interval '1 minute', now() + interval '1 day', '2020-01-01Z'
        FROM unnest('{{{B},{A}}}'::uuid[]) uuid""")


@pytest.fixture
async def anomalies(somebody, connection):
    """Two of one device, the later one first."""
    await connection.execute(f"""
        INSERT INTO anomalies (device_uuid, name, origin, fingerprint, source, metric, unit, severity, method, trend,
            value, expected_low, expected_high, baseline, deviation, confidence, recent, samples, count, first_at,
            last_at, verdict, judged_at, verdict_state, received_at, heard_at)
        SELECT '{A}', name, 'agent', 'f', 'system', 'm', '', 'info', 'm', '', 1, 0, 0, 0, 1, 1, '{{}}', 1, 1, now(),
            now(), 'wrong', now(), 'waiting', now(), now() FROM unnest('{{two,one}}'::text[]) name""")


def part_of(device):
    return f"SELECT FROM device_job_status WHERE device_uuid = '{device}' FOR UPDATE"


def presence_of(device):
    return f"SELECT FROM device_presence WHERE device_uuid = '{device}' FOR UPDATE"


def device(uuid, strength="UPDATE"):
    return f"SELECT FROM fleet_devices WHERE uuid = '{uuid}' FOR {strength}"


def anomaly(name):
    return f"SELECT FROM anomalies WHERE name = '{name}' FOR UPDATE"


async def remove_both(pool):
    found = await Lifecycle(pool).act(Act.DELETE, [B, A], by=EVERYBODY)
    assert [one.outcome for one in found] == ["done", "done"]


async def in_transaction(pool, act, *arguments):
    """Do it by a plan for many rows, which takes them as they lie in the table."""
    async with pool.acquire() as db, db.transaction():
        await db.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
        return await act(db, *arguments)


async def test_devices_are_removed_while_presence_is_written(somebody, pool):
    await somebody.crosses(remove_both(pool), first=presence_of(A), last=presence_of(B))


async def test_devices_are_removed_while_their_job_is_cancelled(somebody, parts, pool):
    await somebody.crosses(remove_both(pool), first=part_of(A), last=part_of(B))


async def test_devices_are_removed_while_one_that_came_hears_of_its_jobs(somebody, parts, pool):
    await somebody.crosses(remove_both(pool), first=presence_of(A), last=part_of(A))


async def test_a_device_is_removed_while_it_reports_anomalies(somebody, anomalies, pool):
    await somebody.crosses(
        in_transaction(pool, removal.remove, [A]), first=anomaly("one"), last=anomaly("two")
    )


async def test_a_device_is_removed_while_its_rollout_gives_it_a_target(somebody, connection, pool):
    await connection.execute(f"""
        INSERT INTO rollouts (id, name, state, change, selection, policy, created_at, created_by, expires_at, look_at)
            VALUES ('{A}', 'one', 'running', '{{}}', '{{}}', '{{}}', now(), 'test', now(), now());
        INSERT INTO rollout_parts (rollout_id, device_uuid, wave, place, state, deadline)
            VALUES ('{A}', '{A}', 0, 0, 'waiting', now())""")

    await somebody.crosses(
        remove_both(pool),
        first="SELECT FROM rollouts FOR UPDATE; SELECT FROM rollout_parts FOR UPDATE",
        last=device(A, "KEY SHARE"),
    )


async def test_devices_are_removed_while_a_rollout_of_them_is_made(somebody, pool):
    await somebody.crosses(
        remove_both(pool),
        first="SELECT pg_advisory_xact_lock(hashtextextended('rollouts: making', 0))",
        last=device(A, "KEY SHARE"),
    )


async def test_a_device_is_switched_off_while_rows_that_refer_to_it_are_written(somebody, pool):
    act = Lifecycle(pool).act(Act.DEACTIVATE, [A], by=EVERYBODY)

    (result,) = await somebody.is_passed_by(act, holding=device(A, "KEY SHARE"))

    assert result.outcome == "done"


async def test_targets_are_remembered_while_their_devices_are_removed(somebody, pool):
    targets = [(UUID(one), replace(first_target(), version=2)) for one in (B, A)]

    await somebody.crosses(
        in_transaction(pool, partial(put_targets, at=LONG_AGO, by="test"), targets),
        first=device(A),
        last=device(B),
    )


async def test_a_target_is_deployed_while_its_device_is_removed(somebody, pool):
    states = StateService(pool, DeviceService(pool, DeviceKeySettings()))

    await somebody.crosses(
        states.deploy(A, by="test"), first=device(A), last="SELECT FROM device_targets FOR UPDATE"
    )


async def test_a_rollout_is_made_while_its_devices_are_removed(somebody, connection, pool):
    await connection.execute(
        "INSERT INTO rollouts (id, name, state, change, selection, policy, created_at, created_by, expires_at, "
        f"look_at) VALUES ('{A}', 'one', 'paused', '{{}}', '{{}}', '{{}}', now(), 'test', now(), now())"
    )
    parts = [
        Part(device_uuid=UUID(one), wave=0, state=PartState.WAITING, deadline=utc_now()) for one in (B, A)
    ]

    await somebody.crosses(
        in_transaction(pool, rollout_rows.add_parts, UUID(A), parts), first=device(A), last=device(B)
    )


async def test_a_new_rollout_waits_for_one_that_takes_its_devices_back(somebody, connection):
    await connection.execute(f"""
        INSERT INTO rollouts (id, name, state, change, selection, policy, created_at, created_by, expires_at, look_at)
            VALUES ('{A}', 'one', 'rolling_back', '{{}}', '{{}}', '{{}}', now(), 'test', now(), now());
        INSERT INTO rollout_parts (rollout_id, device_uuid, wave, place, state) VALUES ('{A}', '{A}', 0, 0, 'succeeded')
        """)

    locked = await connection.fetch(_LOCK_OLDER, [UUID(A)])

    assert [str(row["id"]) for row in locked] == [A]


async def test_leases_are_put_off_while_signs_of_life_are_written(somebody, pool):
    act = in_transaction(pool, presence_rows.put_off, LONG_AGO, timedelta(minutes=1), utc_now())

    moved = await somebody.crosses(act, first=presence_of(A), last=presence_of(B))

    assert moved == 2


async def test_devices_are_reminded_while_their_job_is_cancelled(somebody, parts, connection, pool):
    await connection.execute("UPDATE device_job_status SET notify_at = NULL")
    act = in_transaction(pool, due_parts.remind, [UUID(B), UUID(A)], utc_now())

    await somebody.crosses(act, first=part_of(A), last=part_of(B))

    assert await connection.fetchval("SELECT count(notify_at) FROM device_job_status") == 2


async def test_what_was_told_is_noted_while_the_job_is_cancelled(somebody, parts, connection, pool):
    until = datetime(2020, 1, 1, tzinfo=UTC)
    told = [
        SimpleNamespace(job_id=UUID(A), device_uuid=UUID(one), part=SimpleNamespace(notify_at=until))
        for one in (B, A)
    ]

    await somebody.crosses(
        in_transaction(pool, due_parts.told, told, utc_now()), first=part_of(A), last=part_of(B)
    )

    assert await connection.fetchval("SELECT min(notify_at) FROM device_job_status") > until


async def test_a_template_is_removed_while_its_late_jobs_end(somebody, parts, pool):
    job = "SELECT FROM job_executions WHERE id = '{}' FOR UPDATE"

    removed = await somebody.crosses(
        in_transaction(pool, catalogue_rows.remove_template, UUID(A)), first=job.format(A), last=job.format(B)
    )

    assert removed


async def test_a_template_is_removed_while_a_schedule_refers_to_it(somebody, parts, pool):
    await somebody.crosses(
        in_transaction(pool, catalogue_rows.remove_template, UUID(A)),
        first=f"SELECT FROM job_executions WHERE id = '{A}' FOR UPDATE",
        last="SELECT FROM job_templates FOR KEY SHARE",
    )


async def test_verdicts_are_sent_while_the_device_reports(somebody, anomalies, connection, pool):
    keeper = AnomalyKeeper(pool, AnomalyDeskSettings())

    await somebody.crosses(keeper.teach(), first=anomaly("one"), last=anomaly("two"))

    assert await connection.fetchval("SELECT bool_and(verdict_state = 'sent') FROM anomalies")


async def test_verdicts_are_learned_while_the_anomalies_are_told_again(somebody, anomalies, connection, pool):
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM anomalies ORDER BY name DESC")]

    await somebody.crosses(series_rows.learned(pool, ids), first=anomaly("one"), last=anomaly("two"))

    assert await connection.fetchval("SELECT bool_and(verdict_state = 'learned') FROM anomalies")


@pytest.fixture
async def rule(somebody, connection):
    """A rule at work with two alerts that fire, the later one first."""
    await connection.execute(f"""
        INSERT INTO alert_rules VALUES ('{A}', 'hot', 'telemetry', 'info', '{{}}', '{{}}', true, 1, now(), 't', now());
        INSERT INTO alert_rule_work (rule_id, started_at, evaluated_until) VALUES ('{A}', to_timestamp(0), now());
        INSERT INTO alerts (id, rule_id, rule_name, severity, fingerprint, subject, device_uuid, state, since, fired_at,
            created_at) SELECT uuid, '{A}', 'hot', 'info', repeat(left(uuid::text, 1), 64), '', '{A}', 'firing', now(),
            now(), now() FROM unnest('{{{B},{A}}}'::uuid[]) uuid""")


async def test_a_device_is_silenced_while_its_alerts_end(somebody, rule, connection, pool):
    ends = "UPDATE alerts SET value = 1 WHERE id = '{}'"
    act = AlertService(pool).silence(
        SimpleNamespace(require=lambda uuid: None), rule_id=None, device_uuid=UUID(A), starts_at=None,
        until=utc_now() + timedelta(hours=1), comment="", by="test",
    )  # fmt: skip

    await somebody.crosses(
        act, first="SELECT FROM alert_rule_work FOR UPDATE;" + ends.format(A), last=ends.format(B)
    )

    assert await connection.fetchval("SELECT bool_and(state = 'silenced') FROM alerts")


async def test_two_hand_out_the_same_late_minutes(somebody, rule, connection, pool):
    late = f"INSERT INTO alert_late VALUES ('{A}', '{{}}Z', 1)"
    await connection.execute(
        "INSERT INTO alert_marks SELECT '2024-01-01Z'::timestamptz + n * interval '1 minute', 1 "
        "FROM generate_series(59, 0, -1) n"
    )

    taken = await somebody.crosses(
        stream_rows.hand_out_marks(pool, utc_now(), most=100),
        first=late.format("2024-01-01 00:00"),
        last="; ".join(late.format(f"2024-01-01 00:{minute:02}") for minute in range(1, 60)),
    )

    assert taken == 60


async def test_two_brokers_become_the_default_at_once(somebody, connection, pool):
    brokers = BrokerService(pool, None)
    await connection.execute(
        "INSERT INTO mqtt_brokers (name, protocol, host, port, created_at, updated_at) "
        "SELECT name, 'mqtt', 'h', 1, now(), now() FROM unnest('{one,two}'::text[]) name"
    )
    one = await connection.fetchval("SELECT id FROM mqtt_brokers WHERE name = 'one'")

    made = await somebody.crosses(
        brokers.change(one, {"is_default": True}, None, by="test"),
        first="UPDATE mqtt_brokers SET port = 2 WHERE name = 'two'",
        last="LOCK TABLE mqtt_brokers IN SHARE ROW EXCLUSIVE MODE",
    )

    assert made.is_default


async def test_old_months_of_the_trail_wait_for_a_reader(somebody, connection, pool):
    months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
    before = await connection.fetchval(months)
    partitions = Partitions(pool, AuditSettings())

    await somebody.is_passed_by(
        partitions._drop_months(utc_now() + timedelta(days=9000)), holding="SELECT FROM audit_links"
    )

    assert await connection.fetchval(months) == before


OLD_ROWS = """
INSERT INTO users (id, username, email, role, password_hash) VALUES ('{0}', 'u', 'u@v', 'viewer', '$argon2id$');
INSERT INTO user_sessions (id, user_id, created_at, last_used_at, expires_at)
    SELECT id, '{0}', now(), now(), to_timestamp(0) FROM unnest('{{{0},{1}}}'::uuid[]) id;
INSERT INTO device_presence_history (device_uuid, at, is_online, reason, epoch)
    SELECT uuid, to_timestamp(0), true, '', 1 FROM unnest('{{{0},{1}}}'::uuid[]) uuid;
INSERT INTO agent_updates (device_uuid, version, ordered_by, ordered_at, deadline_at)
    SELECT uuid, '1.2.3', 'test', to_timestamp(0), to_timestamp(0) FROM unnest('{{{0},{1}}}'::uuid[]) uuid;
INSERT INTO device_states (device_uuid, fields, reported_at)
    SELECT uuid, '{{"agent_version": "1.2.3"}}', now() FROM unnest('{{{0},{1}}}'::uuid[]) uuid;
INSERT INTO device_api_keys (device_uuid, prefix, digest, origin, created_at, ends_at)
    SELECT uuid, '12345678', repeat('d', 32)::bytea, 'device', now(), to_timestamp(0)
    FROM unnest('{{{0},{1}}}'::uuid[]) uuid;
INSERT INTO alert_silences (id, device_uuid, starts_at, until, created_by, created_at)
    SELECT id, id, to_timestamp(0), to_timestamp(1), 'test', now() FROM unnest('{{{0},{1}}}'::uuid[]) id;
INSERT INTO upkeep_tasks (name, summary, schedule, deadline_s, next_due_at, seen_at)
    SELECT name, '', 'x', 1, now(), to_timestamp(0) FROM unnest('{{{0},{1}}}'::text[]) name;
INSERT INTO alerts (id, rule_name, severity, fingerprint, subject, state, since, fired_at, resolved_at, created_at)
    SELECT id, 'hot', 'info', repeat('f', 64), '', 'resolved', now(), now(), now(), to_timestamp(0)
    FROM unnest('{{{0},{1}}}'::uuid[]) id;
"""

HOUSEKEEPING = {
    "user_sessions": ("id", lambda pool: session_repository.forget(pool, LONG_AGO)),
    "device_presence_history": ("device_uuid", lambda pool: presence_rows.forget(pool, LONG_AGO, 100)),
    "agent_updates": ("device_uuid", lambda pool: update_rows.give_up(pool, utc_now(), "late", "unheard")),
    "device_api_keys": ("device_uuid", lambda pool: KeyAgeing(pool, None).look()),
    "alert_silences": ("id", lambda pool: AlertKeeper(pool, AlertSettings()).forget()),
    "upkeep_tasks": ("name", lambda pool: upkeep_rows.forget_tasks(pool, LONG_AGO)),
    "alerts": ("id", lambda pool: AlertKeeper(pool, AlertSettings()).forget()),
}


@pytest.mark.parametrize("table", HOUSEKEEPING)
async def test_what_somebody_is_at_is_left_for_the_next_time(somebody, connection, pool, table):
    await connection.execute(OLD_ROWS.format(A, B))
    column, act = HOUSEKEEPING[table]
    held = f"SELECT {column} FROM {table} WHERE {column} = '{A}' FOR UPDATE"
    before = await connection.fetch(f"SELECT xmin, * FROM {table} ORDER BY {column}")

    await somebody.is_passed_by(act(pool), holding=held)

    after = await connection.fetch(f"SELECT xmin, * FROM {table} ORDER BY {column}")
    assert after[0] == before[0]
    assert after[1:] != before[1:]


async def test_an_update_that_somebody_is_at_is_seen_the_next_time(somebody, connection, pool):
    await connection.execute(OLD_ROWS.format(A, B))
    held = f"SELECT FROM agent_updates WHERE device_uuid = '{A}' FOR UPDATE"

    seen = await somebody.is_passed_by(update_rows.settle_seen(pool, utc_now()), holding=held)

    assert [str(row["device_uuid"]) for row in seen] == [B]
