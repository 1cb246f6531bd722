"""The audit trail's chain: sealed by whoever comes, and every later change of it is found."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import asyncpg
import pytest

from iotistic.control.audit import repository
from iotistic.control.audit.model import AuditAnchorInvalid, Head
from iotistic.control.audit.partitions import Partitions, Step
from iotistic.control.audit.port import Severity
from iotistic.control.audit.sealing import Sealer
from iotistic.control.audit.settings import AuditSettings
from iotistic.control.audit.trail import AuditTrail
from iotistic.control.audit.verifying import Fault, verify

NOW = datetime.now(UTC)


async def entries(pool, count, *, at=None):
    trail = AuditTrail(clock=lambda: at or datetime.now(UTC))
    for number in range(count):
        await trail.record(
            pool, "user:ada", "test.changed", ("thing", number), before={"n": number}, after={"n": number + 1}
        )


async def sealed(pool, count=10):
    await entries(pool, count)
    await Sealer(pool).seal()


@pytest.fixture
async def forger(connection):
    """A connection of somebody who may do anything: whoever owns the database."""
    await connection.execute("SET session_replication_role = replica")  # no trigger fires
    return connection


async def verdict_of(connection, **given):
    return await verify(connection, **given)


async def test_an_untouched_chain_holds(pool, connection):
    await sealed(pool, 25)
    await entries(pool, 3)
    verdict = await verdict_of(connection)

    assert verdict.holds
    assert (verdict.checked, verdict.unsealed, verdict.head.position) == (25, 3, 25)


async def test_an_empty_chain_holds(connection):
    assert (await verdict_of(connection)).holds


async def recorded_and_given_up(pool):
    async with pool.acquire() as db, db.transaction():
        await AuditTrail().record(db, None, "test.changed", ("thing", 1))
        raise ZeroDivisionError


async def test_an_entry_is_there_exactly_if_the_change_is(pool):
    with pytest.raises(ZeroDivisionError):
        await recorded_and_given_up(pool)

    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == 0
    assert await pool.fetchval("SELECT count(*) FROM audit_unsealed") == 0


CHANGES = {
    "a value": "UPDATE audit_logs SET after = '{\"n\": 99}' WHERE id = $1",
    "who": "UPDATE audit_logs SET actor_id = 'eve' WHERE id = $1",
    "from where": "UPDATE audit_logs SET ip_address = '10.0.0.1' WHERE id = $1",
    "when, a little": "UPDATE audit_logs SET at = at + interval '1 microsecond' WHERE id = $1",
    "how severe": "UPDATE audit_logs SET severity = 'warning' WHERE id = $1",
    "which event": "UPDATE audit_logs SET event_id = gen_random_uuid() WHERE id = $1",
    "a detail": "UPDATE audit_logs SET details = '{\"x\": 1}' WHERE id = $1",
    "the user": "UPDATE audit_logs SET user_id = gen_random_uuid() WHERE id = $1",
    "the device": "UPDATE audit_logs SET device_uuid = gen_random_uuid() WHERE id = $1",
    "the request": "UPDATE audit_logs SET correlation_id = 'another' WHERE id = $1",
    "nothing to null": "UPDATE audit_logs SET before = NULL WHERE id = $1",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_every_change_is_found_at_its_place(pool, forger, change):
    await sealed(pool)
    entry = await pool.fetchval("SELECT log_id FROM audit_links WHERE position = 4")
    await forger.execute(change, entry)
    verdict = await verdict_of(forger)

    assert not verdict.holds
    assert verdict.first.position == 4
    assert verdict.first.fault in (Fault.CHANGED, Fault.REMOVED)


async def test_a_removed_entry_is_found(pool, forger):
    await sealed(pool)
    entry = await pool.fetchval("SELECT log_id FROM audit_links WHERE position = 7")
    await forger.execute("DELETE FROM audit_logs WHERE id = $1", entry)
    verdict = await verdict_of(forger)

    assert (verdict.first.fault, verdict.first.position, verdict.first.entry) == (Fault.REMOVED, 7, entry)


async def test_an_entry_removed_with_its_link_is_found(pool, forger):
    await sealed(pool)
    entry = await pool.fetchval("SELECT log_id FROM audit_links WHERE position = 7")
    await forger.execute("DELETE FROM audit_logs WHERE id = $1", entry)
    await forger.execute("DELETE FROM audit_links WHERE position = 7")
    verdict = await verdict_of(forger)

    assert (verdict.first.fault, verdict.first.position) == (Fault.REMOVED, 7)


async def test_an_inserted_entry_is_found(pool, forger):
    await sealed(pool)
    entry = await forger.fetchval(
        "INSERT INTO audit_logs (at, event_type, severity, actor_type, actor_id, aggregate_type, aggregate_id) "
        "VALUES (now(), 'test.forged', 'info', 'user', 'ada', 'thing', '1') RETURNING id"
    )
    verdict = await verdict_of(forger)

    assert (verdict.first.fault, verdict.first.entry) == (Fault.INSERTED, entry)


async def test_entries_that_changed_places_are_found(pool, forger):
    await sealed(pool)
    await forger.execute(
        "UPDATE audit_links k SET log_id = o.log_id, log_at = o.log_at FROM audit_links o "
        "WHERE (k.position, o.position) IN ((3, 5), (5, 3))"
    )
    verdict = await verdict_of(forger)

    assert [(one.fault, one.position) for one in verdict.breaks] == [(Fault.CHANGED, 3), (Fault.CHANGED, 5)]


async def test_an_end_that_was_cut_off_is_found_by_the_head_and_by_an_anchor(pool, forger):
    await sealed(pool)
    anchor = await repository.head(pool)
    await forger.execute(
        "DELETE FROM audit_logs WHERE id IN (SELECT log_id FROM audit_links WHERE position > 8)"
    )
    await forger.execute("DELETE FROM audit_links WHERE position > 8")
    by_head = await verdict_of(forger)
    await forger.execute(
        "UPDATE audit_head SET (position, hash) = (SELECT position, hash FROM audit_links WHERE position = 8)"
    )
    by_nothing, by_anchor = await verdict_of(forger), await verdict_of(forger, anchor=anchor)

    assert by_head.first.fault is Fault.CUT_OFF
    assert by_nothing.holds
    assert by_anchor.first.fault is Fault.CUT_OFF


async def test_a_chain_that_was_computed_anew_is_found_by_an_anchor(pool, forger):
    await sealed(pool)
    anchor = await repository.head(pool)
    await forger.execute("UPDATE audit_logs SET actor_id = 'eve'")
    await forger.execute("DELETE FROM audit_links")
    await forger.execute("UPDATE audit_head SET position = 0, hash = decode(repeat('00', 32), 'hex')")
    await forger.execute("INSERT INTO audit_unsealed SELECT id, at FROM audit_logs")
    await Sealer(pool).seal()
    by_nothing, by_anchor = await verdict_of(forger), await verdict_of(forger, anchor=anchor)

    assert by_nothing.holds
    assert by_anchor.first.fault is Fault.ANCHOR


@pytest.mark.parametrize("text", ["", "7", "x:00", "7:zz", "-1:" + "00" * 32, "7:" + "00" * 31])
def test_an_anchor_that_is_none_is_refused(text):
    with pytest.raises(AuditAnchorInvalid):
        Head.parse(text)


@pytest.mark.parametrize("table", ["audit_logs", "audit_links", "audit_drops"])
@pytest.mark.parametrize("act", ["DELETE FROM {}", "UPDATE {} SET {} = {}", "TRUNCATE {}"])
async def test_the_database_refuses_every_change(pool, table, act):
    await sealed(pool)
    await pool.execute("INSERT INTO audit_drops VALUES (now(), 0, 0, ''::bytea, '{}', '{}', now())")
    column = {"audit_logs": "severity", "audit_links": "position", "audit_drops": "entries"}[table]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only added to"):
        await pool.execute(act.format(table, column, column))


async def test_every_partition_refuses_to_be_truncated(pool):
    names = await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhparent IN ('audit_logs'::regclass, 'audit_links'::regclass)"
    )
    refused = 0
    for row in names:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(f"TRUNCATE {row['name']}")
        refused += 1

    assert refused >= 8


async def test_a_guard_that_was_switched_off_is_named(pool, connection):
    await sealed(pool)
    await connection.execute("ALTER TABLE audit_logs DISABLE TRIGGER append_only")
    verdict = await verdict_of(connection)

    assert verdict.first.fault is Fault.UNGUARDED
    assert "audit_logs" in {one.table for one in verdict.breaks}


async def test_many_writers_and_many_sealers_make_one_chain(pool, connection):
    done = asyncio.Event()

    async def seal():
        sealer, count = Sealer(pool), 0
        while not done.is_set():
            count += await sealer.seal()
        return count

    sealers = [asyncio.create_task(seal()) for _ in range(3)]
    await asyncio.gather(*(entries(pool, 40) for _ in range(5)))
    done.set()
    counts = await asyncio.gather(*sealers)
    last = await Sealer(pool).seal()
    verdict = await verdict_of(connection)
    positions = [row["position"] for row in await pool.fetch("SELECT position FROM audit_links ORDER BY 1")]

    assert sum(counts) + last == 200
    assert positions == list(range(1, 201))
    assert verdict.holds


async def test_what_is_committed_late_is_linked_late(pool, connection):
    async with pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await AuditTrail().record(slow, "user:ada", "test.slow", ("thing", 0))
        await sealed(pool, 3)
        await transaction.commit()
    await Sealer(pool).seal()
    order = await pool.fetch(
        "SELECT l.event_type FROM audit_links k JOIN audit_logs l ON l.id = k.log_id ORDER BY k.position"
    )

    assert [row["event_type"] for row in order] == ["test.changed"] * 3 + ["test.slow"]
    assert (await verdict_of(connection)).holds


async def test_a_sealer_that_dies_leaves_nothing_half_done(pool, connection):
    await entries(pool, 5)

    class Dies(Sealer):
        async def _round(self, db):
            await super()._round(db)
            raise ConnectionResetError

    with pytest.raises(Exception, match="database"):
        await Dies(pool).seal()
    before = await verdict_of(connection)
    await Sealer(pool).seal()

    assert (before.checked, before.unsealed) == (0, 5)
    assert (await verdict_of(connection)).checked == 5


async def test_an_entry_that_went_before_it_was_sealed_is_told_of(pool, forger):
    await entries(pool, 2)
    await forger.execute("DELETE FROM audit_logs WHERE id = (SELECT min(id) FROM audit_logs)")
    await Sealer(pool).seal()
    told = await pool.fetchrow(
        "SELECT severity, aggregate_id FROM audit_logs WHERE event_type = 'audit.entry_lost'"
    )

    assert told["severity"] == Severity.CRITICAL


def months(count):
    first = Step.MONTH.begins(NOW)
    return [Step.MONTH.after(first, -steps) for steps in range(count, -1, -1)]


async def make_months(pool, count):
    for first, until in pairwise([*months(count), Step.MONTH.after(Step.MONTH.begins(NOW))]):
        for table in ("audit_logs", "audit_links"):
            await pool.execute("SELECT make_time_partition($1::text::regclass, $2, $3)", table, first, until)


async def test_whole_months_leave_and_the_rest_still_holds(pool, connection):
    await make_months(pool, 4)
    old, newer, *_ = months(4)
    # Sealed mixed, as around midnight at the end of a month.
    for at in (old, old, newer, old, newer, NOW, newer, NOW):
        await entries(pool, 3, at=at + timedelta(seconds=1))
    await Sealer(pool).seal()
    await Partitions(pool, AuditSettings(audit_keep_months=2)).keep(NOW)
    await Sealer(pool).seal()
    verdict = await verdict_of(connection)

    assert verdict.holds
    assert verdict.dropped == 18
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE at < $1", months(3)[1]) == 0
    assert (
        await pool.fetchval("SELECT count(*) FROM audit_logs WHERE event_type = 'audit.month_dropped'") == 2
    )


async def test_more_than_what_left_by_months_is_missed(pool, forger):
    await make_months(pool, 4)
    for at in (months(4)[0], NOW):
        await entries(pool, 3, at=at + timedelta(seconds=1))
    await Sealer(pool).seal()
    await Partitions(pool, AuditSettings(audit_keep_months=2)).keep(NOW)
    await forger.execute(
        "DELETE FROM audit_logs WHERE id = (SELECT log_id FROM audit_links WHERE position = 4)"
    )
    await forger.execute("DELETE FROM audit_links WHERE position = 4")

    assert (await verdict_of(forger)).first.fault is Fault.REMOVED


async def test_a_month_that_is_not_sealed_stays(pool):
    await make_months(pool, 4)
    await entries(pool, 1, at=months(4)[0])
    await Partitions(pool, AuditSettings(audit_keep_months=2)).keep(NOW)

    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == 1


async def test_partitions_are_made_ahead_once_and_old_days_leave(pool):
    long_ago = Step.DAY.begins(NOW) - timedelta(days=200)
    await pool.execute("SELECT make_time_partition('events', $1, $2)", long_ago, long_ago + timedelta(days=1))
    keeper = Partitions(pool, AuditSettings())
    later = NOW + timedelta(days=40)
    await asyncio.gather(*(keeper.keep(later) for _ in range(3)))
    await keeper.keep(later)
    names = {
        row["relname"]
        for row in await pool.fetch("SELECT relname FROM pg_class WHERE relname LIKE 'events_p%'")
    }

    assert f"events_p{later + timedelta(days=7):%Y%m%d}" in names
    assert f"events_p{long_ago:%Y%m%d}" not in names


async def test_what_comes_at_an_unexpected_time_is_taken(pool, connection):
    await entries(pool, 1, at=NOW + timedelta(days=3650))
    await entries(pool, 1, at=NOW - timedelta(days=3650))
    await Sealer(pool).seal()

    assert (await verdict_of(connection)).checked == 2


async def test_who_from_where_and_about_which_device(pool):
    device, user = uuid4(), uuid4()
    trail = AuditTrail()
    await trail.record(pool, f"user:{user}", "a.b", ("device", device), details={"password": "x", "n": 1})
    await trail.record(pool, f"device:{device}", "c.d", ("session", "s" * 900))
    await trail.record(pool, None, "e.f", ("account", "\0\ud800"))
    rows = await pool.fetch("SELECT * FROM audit_logs ORDER BY id")

    assert [row["user_id"] for row in rows] == [user, None, None]
    assert [row["device_uuid"] for row in rows] == [device, device, None]
    assert [row["actor_type"] for row in rows] == ["user", "device", "nobody"]
    assert '"x"' not in rows[0]["details"]
