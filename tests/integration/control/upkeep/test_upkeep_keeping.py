"""When tasks are done, by whom, and what is written of it."""

import asyncio
import json
from datetime import timedelta

import pytest
from upkeep_builders import NOON, Upkeep, Work, running, until

from iotistic.control.upkeep.model import (
    Outcome,
    TaskElsewhere,
    TaskInvalid,
    TaskRunning,
    TaskUnknown,
    Watched,
)
from iotistic.kernel.errors import Invalid, Unavailable


class BrokerGone(Unavailable):
    """The broker is gone."""

    code = "test.broker_gone"


async def test_a_task_is_done_at_its_moment_and_not_before(pool):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper()
    await upkeep.at(keeper)
    await upkeep.at(keeper, minutes=59, seconds=59)
    before = upkeep.work.done
    await upkeep.at(keeper, seconds=1)
    await upkeep.at(keeper, seconds=1)
    (run,) = await upkeep.runs()

    assert (before, upkeep.work.done) == (0, 1)
    assert (run.outcome, run.cause, run.due_at, run.missed) == (
        "succeeded",
        "schedule",
        NOON + timedelta(hours=1),
        0,
    )
    assert json.loads(run.output) == {"swept": 3}
    assert run.duration_s < 5
    assert (await upkeep.standing()).next_due_at == NOON + timedelta(hours=2)


async def test_moments_that_passed_are_made_up_for_once(pool):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper()
    await upkeep.at(keeper)
    await upkeep.at(keeper, days=2, minutes=30)
    await upkeep.at(keeper, seconds=1)
    (run,) = await upkeep.runs()

    assert upkeep.work.done == 1
    assert (run.due_at, run.missed) == (NOON + timedelta(days=2), 47)


async def test_intervals_are_caught_up_once_too(pool):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper(upkeep.task(schedule="every 60 s"))
    await upkeep.at(keeper)
    await upkeep.at(keeper, hours=1)
    await upkeep.at(keeper, seconds=59)
    (run,) = await upkeep.runs()

    assert (upkeep.work.done, run.missed) == (1, 59)


async def test_a_task_that_is_due_soon_is_done_when_the_list_first_hears_of_it_and_not_at_each_start(pool):
    upkeep = Upkeep(pool)
    await upkeep.at(upkeep.keeper(upkeep.task(is_soon=True)))
    await upkeep.at(upkeep.keeper(upkeep.task(is_soon=True)), minutes=1)

    assert upkeep.work.done == 1


async def test_a_clock_that_was_years_ahead_delays_nothing(pool):
    upkeep = Upkeep(pool)
    await upkeep.at(upkeep.keeper())
    await upkeep.at(upkeep.keeper(), days=1500)
    await upkeep.at(upkeep.keeper(), days=-1500)
    back = (await upkeep.standing()).next_due_at
    await upkeep.at(upkeep.keeper(), hours=1)

    assert back == NOON + timedelta(hours=1)
    assert upkeep.work.done == 2


async def test_clocks_a_few_minutes_apart_do_one_moment_once(pool):
    upkeep = Upkeep(pool)
    await upkeep.at(upkeep.keeper())
    upkeep.now = NOON + timedelta(minutes=57)
    ahead = upkeep.keeper(clock=lambda: upkeep.now + timedelta(minutes=5))
    await upkeep.at(ahead)
    await upkeep.at(upkeep.keeper())
    await upkeep.at(upkeep.keeper(), minutes=4)

    assert upkeep.work.done == 1


async def test_many_keepers_do_each_moment_once(pool):
    upkeep = Upkeep(pool)
    keepers = [upkeep.keeper() for _ in range(4)]
    await asyncio.gather(*(keeper.look() for keeper in keepers))
    for _ in range(10):
        upkeep.now += timedelta(hours=1)
        await asyncio.gather(*(keeper.look() for keeper in keepers))
        await asyncio.gather(*(keeper.settled() for keeper in keepers))

    assert upkeep.work.done == 10
    assert [run.outcome for run in await upkeep.runs()] == ["succeeded"] * 10


async def test_what_failed_is_tried_again_twice_later_and_later_then_at_its_moment(pool):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper(upkeep.task(schedule="0 3 * * *"))
    upkeep.work.error = BrokerGone("nobody there", hint="wait")
    await upkeep.at(keeper)
    await upkeep.at(keeper, hours=15)
    for minutes in (0.5, 0.5, 9, 1, 600, 600):
        await upkeep.at(keeper, minutes=minutes)
    runs = await upkeep.runs()
    upkeep.work.error = None
    await upkeep.at(keeper, hours=5)
    standing = await upkeep.standing()

    assert [(run.cause, run.error_code, run.error) for run in runs] == [
        ("retry", "test.broker_gone", "nobody there"),
        ("retry", "test.broker_gone", "nobody there"),
        ("schedule", "test.broker_gone", "nobody there"),
    ]
    assert (upkeep.work.done, standing.tries, standing.retry_at) == (4, 0, None)


@pytest.mark.parametrize(
    "error", [ValueError("half \ud800 a character, \0 and more"), KeyError("x"), RuntimeError("y" * 100_000)]
)
async def test_whatever_is_raised_can_be_written_down(pool, error):
    upkeep = Upkeep(pool)
    upkeep.work.error = error
    keeper = upkeep.keeper(upkeep.task(is_soon=True))
    await upkeep.at(keeper)
    (run,) = await upkeep.runs()

    assert (run.outcome, run.error_code) == ("failed", type(error).__name__)
    assert 0 < len(run.error) <= 2000


@pytest.mark.parametrize(
    "output", [{"text": "x" * 100_000}, {"text": "é\ud800\0" * 50_000}, {"odd": object(), "at": NOON}]
)
async def test_whatever_is_put_out_can_be_shown(pool, output):
    upkeep = Upkeep(pool)
    upkeep.work.output = output
    await upkeep.at(upkeep.keeper(upkeep.task(is_soon=True)))
    (run,) = await upkeep.runs()

    assert run.outcome is Outcome.SUCCEEDED
    assert json.loads(run.output)


async def test_work_past_its_deadline_is_given_up(pool):
    upkeep = Upkeep(pool)
    upkeep.work.goes_on.clear()
    await upkeep.at(upkeep.keeper(upkeep.task(is_soon=True, deadline_s=0.1)))
    (run,) = await upkeep.runs()

    assert (run.outcome, run.error_code) == ("late", "upkeep.deadline_passed")
    assert upkeep.work.given_up == 1
    assert (await upkeep.standing()).retry_at == NOON + timedelta(minutes=1)


async def test_a_slow_task_keeps_no_other_one_waiting(pool):
    upkeep = Upkeep(pool, upkeep_at_once=2)
    slow, quick = Work(), Work()
    slow.goes_on.clear()
    tasks = [
        upkeep.task(name="a-slow", is_soon=True, work=slow),
        upkeep.task(name="b-quick", is_soon=True, work=quick, schedule="every 60 s"),
    ]
    keeper = upkeep.keeper(*tasks)
    async with running(keeper):
        for _ in range(3):
            done = quick.done
            await until(lambda done=done: _more(quick, done))
            upkeep.now += timedelta(minutes=1)
        slow.goes_on.set()

    assert slow.done == 1


async def _more(work, done):
    return work.done > done


async def test_a_task_that_is_switched_off_is_not_done_and_starts_anew_when_it_is_on(pool):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper()
    await upkeep.at(keeper)
    await upkeep.service.toggle("sweep", False, by="user:ada")
    await upkeep.at(keeper, hours=5, minutes=30)
    off = upkeep.work.done
    await upkeep.service.toggle("sweep", True, by="user:ada")
    await upkeep.at(keeper)
    on_at_once = upkeep.work.done
    await upkeep.at(keeper, minutes=30)

    assert (off, on_at_once, upkeep.work.done) == (0, 0, 1)
    assert (await upkeep.runs())[0].missed == 0


async def test_a_task_is_done_when_somebody_asks_also_when_it_is_off(pool):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper()
    await upkeep.at(keeper)
    await upkeep.service.toggle("sweep", None, by="user:ada")
    asked = await upkeep.service.ask("sweep", by="user:ada")
    again = await upkeep.service.ask("sweep", by="user:bob")
    await upkeep.at(keeper)
    run = await upkeep.service.run("sweep", asked.id)

    assert again.id == asked.id
    assert (run.outcome, run.cause, run.asked_by, upkeep.work.done) == ("succeeded", "asked", "user:ada", 1)
    assert (await upkeep.standing()).next_run_at is None


async def test_a_task_that_runs_cannot_be_asked_for(pool):
    upkeep = Upkeep(pool)
    upkeep.work.goes_on.clear()
    keeper = upkeep.keeper(upkeep.task(is_soon=True))
    async with running(keeper):
        await upkeep.work.began.wait()

        with pytest.raises(TaskRunning):
            await upkeep.service.ask("sweep", by="user:ada")
        upkeep.work.goes_on.set()


async def test_what_is_in_hand_when_the_process_ends_goes_on_in_the_next_one(pool):
    upkeep = Upkeep(pool)
    upkeep.work.goes_on.clear()
    task = asyncio.create_task(upkeep.keeper(upkeep.task(is_soon=True)).run())
    await upkeep.work.began.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    upkeep.work.goes_on.set()
    await upkeep.at(upkeep.keeper(upkeep.task(is_soon=True)))

    assert [(run.outcome, run.cause) for run in await upkeep.runs()] == [
        ("succeeded", "retry"),
        ("stopped", "schedule"),
    ]


async def test_a_run_that_was_taken_for_lost_is_given_up_and_does_not_write_over_the_next_one(pool):
    upkeep = Upkeep(pool, upkeep_lease_s=1)
    upkeep.work.goes_on.clear()
    keeper = upkeep.keeper(upkeep.task(is_soon=True))
    await keeper.look()
    await upkeep.work.began.wait()
    await pool.execute("UPDATE upkeep_runs SET lease_until = clock_timestamp() - interval '1 s'")
    other = Work({"by": "the other"})
    await upkeep.at(upkeep.keeper(upkeep.task(work=other)))
    await keeper.settled()

    assert upkeep.work.given_up == 1
    assert [(run.outcome, run.error_code) for run in await upkeep.runs()] == [
        ("succeeded", ""),
        ("lost", "upkeep.lost"),
    ]


async def test_a_lease_from_a_database_whose_clock_was_ahead_is_over(pool):
    upkeep = Upkeep(pool)
    upkeep.work.goes_on.clear()
    keeper = upkeep.keeper(upkeep.task(is_soon=True))
    await keeper.look()
    await upkeep.work.began.wait()
    await pool.execute("UPDATE upkeep_runs SET lease_until = clock_timestamp() + interval '9 years'")
    other = Work()
    await upkeep.at(upkeep.keeper(upkeep.task(work=other)))
    upkeep.work.goes_on.set()
    await keeper.settled()

    assert other.done == 1


async def test_work_that_is_lost_each_time_is_not_begun_for_ever(pool):
    upkeep = Upkeep(pool)
    upkeep.work.goes_on.clear()
    for _ in range(6):
        keeper = upkeep.keeper(upkeep.task(is_soon=True))
        await keeper.look()
        await pool.execute(
            "UPDATE upkeep_runs SET lease_until = clock_timestamp() - interval '1 s' WHERE outcome = 'running'"
        )
    await upkeep.at(upkeep.keeper(upkeep.task(work=Work())))
    upkeep.work.goes_on.set()
    outcomes = [run.outcome for run in await upkeep.runs()]

    assert outcomes == ["lost"] * 3


async def test_runs_are_kept_up_to_a_number(pool):
    upkeep = Upkeep(pool, upkeep_runs_kept=3)
    keeper = upkeep.keeper()
    for _ in range(8):
        await upkeep.at(keeper, hours=1)
    kept = [run.due_at for run in await upkeep.runs()]

    assert kept == [upkeep.now - timedelta(hours=hours) for hours in range(3)]


async def test_a_changed_schedule_counts_at_once_and_a_task_that_is_gone_leaves_the_list(pool):
    upkeep = Upkeep(pool)
    await upkeep.at(upkeep.keeper(upkeep.task(schedule="0 3 1 1 *"), upkeep.task(name="gone")))
    await upkeep.at(upkeep.keeper(upkeep.task(schedule="30 * * * *")))
    changed = await upkeep.standing()
    await upkeep.at(upkeep.keeper(upkeep.task(schedule="30 * * * *")), days=8)

    assert changed.next_due_at == NOON + timedelta(minutes=30)
    with pytest.raises(TaskUnknown):
        await upkeep.service.task("gone")


async def test_spread_moments_are_done_within_their_spread_and_stay(pool):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper(upkeep.task(spread_s=600))
    await upkeep.at(keeper)
    first = (await upkeep.standing()).next_due_at
    await upkeep.at(upkeep.keeper(upkeep.task(spread_s=600)), minutes=1)

    assert NOON + timedelta(hours=1) <= first <= NOON + timedelta(hours=1, minutes=10)
    assert (await upkeep.standing()).next_due_at == first


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Sweep"},
        {"name": ""},
        {"name": "a" * 65},
        {"name": "a-"},
        {"deadline_s": 0},
        {"schedule": "every minute"},
        {"schedule": "every 0 s"},
        {"schedule": "every ٣ s"},
        {"schedule": "61 * * * *"},
        {"schedule": "* * * * * *"},
        {"schedule": ""},
    ],
)
async def test_a_task_that_could_not_be_done_is_refused_when_the_process_starts(pool, changes):
    upkeep = Upkeep(pool)

    with pytest.raises(Invalid):
        upkeep.keeper(upkeep.task(**changes))


async def test_two_tasks_of_one_name_are_refused(pool):
    upkeep = Upkeep(pool)

    with pytest.raises(TaskInvalid):
        upkeep.keeper(upkeep.task(), upkeep.task())


async def test_work_of_other_processes_is_shown_and_cannot_be_driven(pool):
    async def figures():
        return {"waiting": 7}

    async def broken():
        return await pool.fetchval("SELECT no_such_column")

    common = {"summary": "x", "schedule": "all the time", "where": "maintenance"}
    watched = [Watched(name="rollups", look=figures, **common), Watched(name="broken", look=broken, **common)]
    upkeep = Upkeep(pool, watched=watched)
    seen = await upkeep.service.watched()

    assert [(one.watched.name, dict(one.figures), bool(one.fault)) for one in seen] == [
        ("rollups", {"waiting": 7}, False),
        ("broken", {}, True),
    ]
    with pytest.raises(TaskElsewhere):
        await upkeep.service.ask("rollups", by="user:ada")
    with pytest.raises(TaskElsewhere):
        await upkeep.service.toggle("rollups", False, by="user:ada")
