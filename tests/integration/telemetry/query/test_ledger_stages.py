"""Where the API says that gaps stand, and how long they took to heal: every answer from real rows."""

import time
import uuid

import numpy as np
import pytest

from iotistic.telemetry.ledger.looks import Stages, Watch
from iotistic.telemetry.ledger.model import Span, Stage
from iotistic.telemetry.ledger.repository import Answer, LedgerRepository
from iotistic.telemetry.model import Deliveries, Resolved, no_rows
from iotistic.telemetry.sink.sink import Sink

MAC = "mac:aabbccddee01"
AGENT = f"uuid:{uuid.UUID(int=7)}"


@pytest.fixture
async def deliver(database):
    """Store stamped messages: (sender, epoch, numbers), received some seconds ago."""
    sink = Sink(database, application_name="ledger-stages")

    async def store(source, epoch, numbers, *, ago_s=0):
        columns = np.full(len(numbers), epoch, np.int64), np.array(numbers, np.int64)
        at_us = time.time_ns() // 1000 - ago_s * 1_000_000
        await sink.write(Resolved(no_rows(), [], [], at_us, Deliveries([source] * len(numbers), *columns)))

    yield store
    await sink.close()


@pytest.fixture
def ledger(pool):
    return LedgerRepository(pool)


@pytest.fixture
def stages(pool):
    return Stages(pool)


async def note_gaps(pool, ledger):
    for _ in range(2):
        await ledger.fold(rounds=5)
        await ledger.heal(None)
        await pool.fetchval("SELECT ledger_watch('0')")


async def gaps(api, **asked):
    answer = await api.get("/ledger", params=asked)
    assert answer.status_code == 200, answer.text
    return [
        (gap["first"], gap["last"], gap["stage"]) for item in answer.json()["items"] for gap in item["gaps"]
    ]


async def look(stages, stage, *, ago_s, clear_ago_s, waiting=0):
    """Note a look at a stage."""
    watch, now = Watch(stage, "0"), time.time()
    watch.clear(now - ago_s, now - clear_ago_s)
    await stages.note([watch.told(now - ago_s, waiting)])


async def test_the_stage_of_a_gap_follows_what_the_device_answers(api, pool, deliver, ledger):
    await deliver(MAC, 5, [1, 12])
    await note_gaps(pool, ledger)
    await deliver(MAC, 5, [14])
    said = Answer([Span(2, 4)], [Span(5, 5), Span(99, 2**53 - 1)], [Span(10, 11)])
    await ledger.note_answer(MAC, 5, said, pause_s=1)

    assert await gaps(api) == [
        (2, 4, "pipeline"),
        (5, 5, "device"),
        (6, 9, "unanswered"),
        (10, 11, "device_waiting"),
        (13, 13, "on_the_way"),
    ]


async def test_what_a_device_says_last_goes_first_but_what_is_gone_is_gone(api, pool, deliver, ledger):
    await deliver(MAC, 5, [1, 6])
    await note_gaps(pool, ledger)
    for said in (
        Answer(waiting=[Span(2, 3)], gone=[Span(5, 5)]),
        Answer(again=[Span(2, 2), Span(5, 5)], waiting=[Span(4, 4)]),
        Answer(again=[Span(4, 4)]),
    ):
        await ledger.note_answer(MAC, 5, said, pause_s=1)

    assert await gaps(api) == [
        (2, 2, "pipeline"), (3, 3, "device_waiting"), (4, 4, "pipeline"), (5, 5, "device"),
    ]  # fmt: skip


async def test_the_stage_that_may_hold_a_gap_is_named_until_it_is_clear(api, pool, deliver, ledger, stages):
    await deliver(MAC, 5, [1, 4])
    await note_gaps(pool, ledger)
    seen = [await gaps(api)]
    for stage in (Stage.BROKER, Stage.RAW_TOPIC, Stage.PROCESSED_TOPIC):
        await look(stages, stage, ago_s=5, clear_ago_s=3600, waiting=7)
    seen.append(await gaps(api))
    for stage, in_s in ((Stage.BROKER, 10), (Stage.RAW_TOPIC, 20), (Stage.PROCESSED_TOPIC, 30)):
        await look(stages, stage, ago_s=-in_s, clear_ago_s=-in_s)
        seen.append(await gaps(api))

    assert seen == [
        [(2, 3, "unanswered")],
        [(2, 3, "broker")],
        [(2, 3, "raw_topic")],
        [(2, 3, "processed_topic")],
        [(2, 3, "unanswered")],
    ]


async def test_the_answer_tells_how_far_the_stages_are(api, stages):
    await look(stages, Stage.RAW_TOPIC, ago_s=1, clear_ago_s=60, waiting=7)
    other = Watch(Stage.RAW_TOPIC, "1")
    await stages.note([other.look(time.time(), end=5, done=2)])

    (told,) = (await api.get("/ledger")).json()["stages"]

    assert (told["stage"], told["parts"], told["waiting"], told["clear_until"]) == ("raw_topic", 2, 10, None)


async def test_the_answer_tells_which_processes_run_and_what_they_miss(api, pool):
    await pool.execute(
        "INSERT INTO stage_loads (lane, process, started_at, reported_at, stored, delay_s, waiting, away)"
        " VALUES ('live', 'sink-0', now(), now(), 1, 0, 7, 'database'),"
        "        ('live', 'old', now(), now() - interval '1 h', 1, 0, 7, NULL)"
    )

    (process,) = (await api.get("/ledger")).json()["processes"]
    assert (process["process"], process["waiting"], process["away"]) == ("sink-0", 7, "database")


async def test_what_was_sent_again_and_is_nowhere_was_lost_before_the_broker(
    api, pool, deliver, ledger, stages
):
    await deliver(MAC, 5, [1, 4])
    await note_gaps(pool, ledger)
    await ledger.note_answer(MAC, 5, Answer(again=[Span(2, 3)]), pause_s=1)
    await look(stages, Stage.BROKER, ago_s=0, clear_ago_s=10)
    before = await gaps(api)
    await look(stages, Stage.BROKER, ago_s=-10, clear_ago_s=-10)

    assert (before, await gaps(api)) == ([(2, 3, "broker")], [(2, 3, "before_broker")])


async def test_a_device_that_keeps_messages_back_is_waited_for(api, pool, deliver, ledger):
    await deliver(MAC, 5, [1, 4])
    await note_gaps(pool, ledger)
    await ledger.note_backlogs([(MAC, 3600, 1.0), ("mac:aabbccddee99", 5, 0.0)])
    keeps = await gaps(api)
    await ledger.note_backlogs([(MAC, 0, 0.0)])

    assert (keeps, await gaps(api)) == ([(2, 3, "device_waiting")], [(2, 3, "unanswered")])
    assert await pool.fetchval("SELECT count(*) FROM ledger_backlogs") == 1


async def test_what_a_device_sent_of_its_backlog_is_followed_from_then_on(api, pool, deliver, ledger, stages):
    await deliver(MAC, 5, [1, 4])
    await note_gaps(pool, ledger)
    await look(stages, Stage.BROKER, ago_s=-5, clear_ago_s=-5)
    before = await gaps(api)
    await ledger.note_backlogs([(MAC, 0, -20.0)])

    assert (before, await gaps(api)) == ([(2, 3, "unanswered")], [(2, 3, "broker")])


async def test_a_device_that_is_silent_is_said_to_be_offline_and_since_when(api, pool, deliver, ledger):
    await deliver(MAC, 5, [1, 4], ago_s=3600)
    await deliver("key:pump", 5, [1, 4], ago_s=3600)
    await note_gaps(pool, ledger)
    items = (await api.get("/ledger")).json()["items"]
    stages_of = {item["source"]: item["gaps"][0]["stage"] for item in items}
    notes = {item["source"]: item["gaps"][0]["note"] for item in items}
    await deliver(MAC, 6, [1])

    assert stages_of == {MAC: "device_offline", "key:pump": "unanswered"}
    assert "nothing has come from the device since 20" in notes[MAC]
    assert "is not asked" in notes["key:pump"]
    assert await gaps(api, device=MAC) == [(2, 3, "unanswered")]


async def test_agents_are_asked_and_told_and_senders_that_only_a_key_names_are_not(pool, deliver, ledger):
    for source in (MAC, AGENT, "key:pump"):
        await deliver(source, 5, [1, 3])
    await note_gaps(pool, ledger)

    asked = await ledger.due(limit=9, ranges=9)
    told = await ledger.unconfirmed(older_s=0, limit=9, ranges=9)
    assert {row["source"] for row in asked} == {row["source"] for row in told} == {MAC, AGENT}


async def test_how_long_messages_were_missing_is_told_of_each_epoch_and_of_all(api, pool, deliver, ledger):
    for epoch, missing_s in ((5, 40), (6, 4000)):
        await deliver(MAC, epoch, [1, 200])
        await note_gaps(pool, ledger)
        await pool.execute(
            "UPDATE ledger_noted SET missing_since = clock_timestamp() - $1 * interval '1 second'", missing_s
        )
        await deliver(MAC, epoch, range(2, 200))
        await ledger.fold(rounds=5)
        _, healed = await ledger.heal(None)
        assert [(round(seconds), messages) for seconds, messages in healed] == [(missing_s, 198)]
    answer = (await api.get("/ledger")).json()

    fast, slow = [item["healing"] for item in answer["items"]]
    assert fast["p50_s"] == fast["max_s"] == pytest.approx(40, abs=2)
    assert slow["p99_s"] == pytest.approx(4000, abs=2)
    total = answer["totals"]["healing"]
    assert [round(total[name], -1) for name in ("p50_s", "p99_s", "max_s")] == [40, 4000, 4000]
    assert answer["totals"]["healed"] == 2 * 198


async def test_only_epochs_that_changed_are_looked_at_for_healing(pool, deliver, ledger):
    await deliver(MAC, 5, [1, 4])
    await note_gaps(pool, ledger)
    looked_at, _ = await ledger.heal(None)
    _, nothing = await ledger.heal(looked_at)
    await deliver(MAC, 5, [3])
    await ledger.fold(rounds=5)
    _, some = await ledger.heal(looked_at)

    assert (nothing, [messages for _, messages in some]) == ([], [1])
    assert await pool.fetchval("SELECT ranges::text FROM ledger_noted") == "{[2,3)}"


async def test_a_sender_that_loses_for_ever_keeps_few_rows_and_none_of_its_gaps_is_forgotten(
    api, pool, deliver, ledger
):
    for number in range(1, 100, 2):
        await deliver(MAC, 5, [number])
        await note_gaps(pool, ledger)

    assert await pool.fetchval("SELECT count(*) FROM ledger_noted") <= 16
    assert [first for first, _, _ in await gaps(api)] == list(range(2, 99, 2))
    assert len({gap["since"] for gap in (await api.get("/ledger")).json()["items"][0]["gaps"]}) == 16
    joined = await pool.fetchrow("SELECT * FROM ledger_noted ORDER BY missing_since LIMIT 1")
    others = await pool.fetchval("SELECT min(came_by) FROM ledger_noted WHERE id <> $1", joined["id"])
    assert joined["missing_since"] < joined["came_by"] < others
