"""Workers and keepers who change the same rows at once take them in one order, or in turns."""

import datetime as dt

import asyncpg
import pytest
from ingest_builders import NOW, batch
from lock_circles import another

from iotistic.telemetry.dead_letters.repository import Chosen, DeadLetterRepository
from iotistic.telemetry.ledger.looks import Look, Stages
from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.ledger.repository import LedgerRepository
from iotistic.telemetry.model import DeviceRef, SeriesRef
from iotistic.telemetry.registry.repository import RegistryRepository
from iotistic.telemetry.registry.schemas import DatapointSpec
from iotistic.telemetry.resolve.lookup import look_up
from iotistic.telemetry.resolve.model import Hints, UnknownPolicy
from iotistic.telemetry.resolve.repository import note_series
from iotistic.telemetry.sink.sink import Sink

AT = dt.datetime(2026, 11, 21, 10, tzinfo=dt.UTC)
DAY_US = 86_400_000_000
TURN = "SELECT pg_advisory_xact_lock(hashtext('ledger_fold'));"
ADOPTION = "SELECT pg_advisory_xact_lock(hashtext('telemetry.adopt'));"
TEMPLATE = "(SELECT id FROM devicetemplates WHERE name = 'Generic JSON device')"


@pytest.fixture
async def somebody(database):
    async with another(database) as other:
        yield other


@pytest.fixture
async def sink(database):
    opened = Sink(database, application_name="sink-test")
    yield opened
    await opened.close()


@pytest.fixture
async def ledger(pool, connection):
    """Two senders with a gap each, what they keep back, and their receipts, the later one first."""
    await connection.execute("""
        INSERT INTO ledger_epochs (source, epoch, received, ranges, stored, highest, messages, first_at, last_at)
            SELECT source, 1, '{}', 0, 0, 1, 0, to_timestamp(0), to_timestamp(0) FROM unnest('{b,a}'::text[]) source;
        INSERT INTO ledger_gaps (source, epoch, suspected_at) SELECT source, 1, now() FROM ledger_epochs;
        INSERT INTO ledger_backlogs SELECT source, 1, to_timestamp(0) FROM ledger_epochs;
        INSERT INTO ledger_stages SELECT 'broker', source, to_timestamp(0), 1, '{}', '{}' FROM ledger_epochs;
        INSERT INTO ledger_receipts SELECT source, to_timestamp(0), now(), '{}', now() FROM ledger_epochs""")
    return LedgerRepository(pool)


def row_of(table, source, column="source"):
    return f"SELECT FROM {table} WHERE {column} = '{source}' FOR UPDATE"


TURNS = {
    "ledger_epochs": lambda ledger: ledger.note_confirmed([("b", 1), ("a", 1)], AT),
    "ledger_gaps": lambda ledger: ledger.note_asked([("b", 1, 1.0), ("a", 1, 1.0)]),
}


@pytest.mark.parametrize("table", TURNS)
async def test_what_senders_were_told_is_noted_while_batches_are_added_up(somebody, ledger, table):
    await somebody.crosses(TURNS[table](ledger), first=TURN + row_of(table, "a"), last=row_of(table, "b"))


async def test_old_epochs_are_dropped_while_batches_are_added_up(somebody, ledger, connection):
    await somebody.crosses(
        ledger.forget(AT), first=TURN + row_of("ledger_epochs", "a"), last=row_of("ledger_epochs", "b")
    )

    assert await connection.fetchval("SELECT count(*) FROM ledger_epochs") == 0


async def test_old_rows_beside_epochs_are_left_to_whoever_is_at_them(somebody, ledger, connection):
    holding = ";".join(
        (
            row_of("ledger_backlogs", "a"),
            row_of("ledger_stages", "a", "part"),
            row_of("ledger_receipts", "a"),
        )
    )

    await somebody.is_passed_by(ledger.forget(AT), holding=holding)

    left = [
        await connection.fetch(f"SELECT {column} FROM {table}")
        for table, column in (
            ("ledger_backlogs", "source"),
            ("ledger_stages", "part"),
            ("ledger_receipts", "source"),
        )
    ]
    assert [[row[0] for row in rows] for rows in left] == [["a"], ["a"], ["a"]]


def receipts(*sources):
    return [{"source": source, "until": dt.datetime.fromtimestamp(0, dt.UTC)} for source in sources]


IN_ORDER = {
    "ledger_backlogs": ("source", lambda ledger: ledger.note_backlogs([("b", 1, 0.0), ("a", 1, 0.0)])),
    "ledger_receipts": ("source", lambda ledger: ledger.note_receipts_sent(receipts("b", "a"))),
    "ledger_stages": (
        "part",
        lambda ledger: Stages(ledger._statements._pool).note(
            [Look(Stage.BROKER, part, 1.0, 0, [], []) for part in ("b", "a")]
        ),
    ),
}


@pytest.mark.parametrize("table", IN_ORDER)
async def test_two_keepers_note_the_same(somebody, ledger, table):
    column, act = IN_ORDER[table]

    await somebody.crosses(act(ledger), first=row_of(table, "a", column), last=row_of(table, "b", column))


async def test_two_keepers_note_the_same_refusals(somebody, ledger):
    act = ledger.note_receipts_refused(receipts("b", "a"), [1.0, None])

    await somebody.crosses(act, first=row_of("ledger_receipts", "a"), last=row_of("ledger_receipts", "b"))


async def test_two_keepers_sign_the_same_hour(somebody, ledger):
    receipt = "INSERT INTO ledger_receipts VALUES ('{}', '2026-11-21 10:00Z', now(), '{{}}', now())"

    await somebody.crosses(
        ledger.store_receipts({"b": "{}", "a": "{}"}, AT), first=receipt.format("a"), last=receipt.format("b")
    )


async def test_two_workers_store_the_same_text_readings(somebody, sink, connection):
    await connection.execute("SELECT ensure_partitions('{2026-11-21}')")
    event = "INSERT INTO telemetry_events VALUES ('2026-11-21 10:00Z', {}, 1, 'card')"
    written = await somebody.crosses(
        sink.write(batch(events=[(2, 1, NOW, "card"), (1, 1, NOW, "card")])),
        first=event.format(1),
        last=event.format(2),
    )

    assert written.events == 2


async def test_two_workers_keep_the_same_dead_letters(somebody, sink, connection):
    letter = "INSERT INTO dead_letters (topic, payload, reason, source) VALUES ('', '', '', '{}')"

    await somebody.crosses(
        sink.write(batch(dead_letters=[(b"t", b"2", "r", "", "b"), (b"t", b"1", "r", "", "a")])),
        first=letter.format("a"),
        last=letter.format("b"),
    )

    assert await connection.fetchval("SELECT count(*) FROM dead_letters") == 2


async def test_two_workers_store_the_same_readings_of_several_days(somebody, sink, connection):
    await connection.execute("SELECT ensure_partitions('{2026-11-21, 2026-11-22}')")
    reading = "INSERT INTO decoded_data VALUES ('2026-11-{} 10:00Z', {}, 1, 1)"

    written = await somebody.crosses(
        sink.write(batch((1, 1, DAY_US, 1.0), (2, 1, 0, 1.0))),
        first=reading.format(21, 2),
        last=reading.format(22, 1),
    )

    assert written.rows == 2


@pytest.fixture
async def letters(connection):
    """Twenty old dead letters, the later ones first."""
    await connection.execute("""
        INSERT INTO dead_letters (id, received_at, topic, payload, reason) OVERRIDING SYSTEM VALUE
            SELECT id, to_timestamp(0), '', '', '' FROM generate_series(20, 1, -1) id""")


OLDEST, OTHERS = (f"SELECT FROM dead_letters WHERE id {which} FOR UPDATE" for which in ("= 1", "> 1"))


@pytest.fixture
async def many(database):
    """A pool whose plans are those for many rows, which take them as they lie in the table."""
    plans = {f"enable_{way}": "off" for way in ("indexscan", "bitmapscan", "mergejoin", "nestloop")}
    async with asyncpg.create_pool(**database.options(), min_size=1, server_settings=plans) as opened:
        yield opened


async def test_dead_letters_are_purged_twice_at_once(somebody, letters, many):
    act = DeadLetterRepository(many).delete(Chosen(), up_to=99, limit=99)

    assert await somebody.crosses(act, first=OLDEST, last=OTHERS) == 20


@pytest.fixture
async def shown(connection):
    """Two devices with two datapoints that nobody has shown yet; ids 1 and 2 each."""
    await connection.execute(f"""
        INSERT INTO devices (id, devicename, devicetemplateid, externalkey) OVERRIDING SYSTEM VALUE
            SELECT id, 'd' || id, {TEMPLATE}, 'd' || id FROM generate_series(1001, 1002) id;
        INSERT INTO datapoints (id, devicetemplateid, label) OVERRIDING SYSTEM VALUE
            SELECT id, {TEMPLATE}, 'p' || id FROM unnest('{{1002,1001}}'::int[]) id""")


async def test_datapoints_are_set_while_workers_add_labels(somebody, shown, connection, pool):
    template = await connection.fetchval(f"SELECT {TEMPLATE}")
    specs = [DatapointSpec(label="p1001"), DatapointSpec(label="p1002")]

    await somebody.crosses(
        RegistryRepository(pool).set_datapoints(template, specs),
        first=ADOPTION + row_of("datapoints", "p1001", "label"),
        last=f"INSERT INTO datapoints (devicetemplateid, label) VALUES ({TEMPLATE}, 'new')",
    )


async def test_a_label_is_adopted_while_datapoints_are_set(somebody, shown, connection):
    device = DeviceRef("key", "d1001")
    refs = {SeriesRef(device, "p1001"), SeriesRef(device, "new")}

    found = await somebody.crosses(
        look_up(connection, refs, UnknownPolicy.ADOPT, Hints({}, ())),
        first=ADOPTION + "DELETE FROM datapoints WHERE label = 'p1001'",
        last=f"INSERT INTO datapoints (devicetemplateid, label) VALUES ({TEMPLATE}, 'new')",
    )

    assert len(found) == 2


async def test_datapoints_are_shown_for_the_first_time_while_they_are_deleted(somebody, shown, connection):
    await somebody.crosses(
        note_series(connection, [(1001, 1002), (1002, 1001)]),
        first=row_of("datapoints", 1001, "id"),
        last=row_of("datapoints", 1002, "id"),
    )


async def test_datapoints_are_deleted_while_they_are_shown_for_the_first_time(
    somebody, shown, connection, pool
):
    template = await connection.fetchval(f"SELECT {TEMPLATE}")
    is_shown = "SELECT FROM datapoints WHERE id = {} FOR KEY SHARE"

    await somebody.crosses(
        RegistryRepository(pool).set_datapoints(template, [DatapointSpec(label="kept")]),
        first=is_shown.format(1001),
        last=is_shown.format(1002),
    )
