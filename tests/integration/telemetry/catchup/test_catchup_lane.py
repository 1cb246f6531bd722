"""Devices that were away drain what they kept: broker, granter, the backlog's worker, database, ledger."""

import asyncio
import os

from catchup_builders import eventually, ledger, rows

MACS = [f"02000000{number:04x}" for number in range(40)]
KEPT = 150
KILLS = int(os.environ.get("FAULT_KILLS", "2"))


async def heard(fleet, pool):
    """Tell whether both lanes take messages; to be asked again."""
    fleet.publish(MACS[0], 1, prefix="")
    fleet.publish(MACS[0], 2)
    return await rows(pool, 2)


async def test_a_backlog_is_granted_in_turns_and_stored_with_its_stamps(
    devices, live, backlog, maintenance, pool
):
    await asyncio.gather(*(process.start() for process in (live, backlog, maintenance)))
    fleet = await devices(MACS, 120)
    await eventually(lambda: fleet.done)
    await eventually(lambda: rows(pool, 120 * len(MACS)))

    assert await ledger(pool) == (len(MACS), 120 * len(MACS), 120 * len(MACS))
    assert set(fleet.granted.values()) == {120}


async def test_while_no_worker_takes_backlogs_devices_hear_why_and_live_readings_flow(
    devices, live, backlog, maintenance, pool
):
    await asyncio.gather(live.start(), maintenance.start())
    fleet = await devices(MACS[:2], 60)
    await eventually(lambda: "catchup.no_backlog_worker" in fleet.reasons)
    fleet.publish(MACS[0], 1000, prefix="")
    await eventually(lambda: rows(pool, 1))
    assert not fleet.granted

    await backlog.start()
    await eventually(lambda: fleet.done)
    await eventually(lambda: rows(pool, 1 + 2 * 60))


async def test_what_devices_send_below_backlog_waits_for_its_worker_and_has_its_ordinary_topic_then(
    devices, live, backlog, pool
):
    await asyncio.gather(live.start(), backlog.start())
    fleet = await devices(MACS[:1], 0)
    await eventually(lambda: heard(fleet, pool))
    await backlog.kill()
    fleet.publish(MACS[0], 3)
    fleet.client.publish(f"backlog/tele/f2-{MACS[0]}/nonsense".encode(), b"{}")
    await eventually(lambda: not fleet.client.unacknowledged)
    await backlog.start()

    await eventually(lambda: rows(pool, 3))
    letter = await eventually(lambda: pool.fetchval("SELECT convert_from(topic, 'utf8') FROM dead_letters"))
    assert letter == f"tele/f2-{MACS[0]}/nonsense"


async def test_without_the_database_nothing_is_granted_and_devices_hear_why(
    devices, live, backlog, maintenance, pool, gate
):
    await asyncio.gather(*(process.start() for process in (live, backlog, maintenance)))
    fleet = await devices(MACS[:1], 0)
    await eventually(lambda: heard(fleet, pool))
    await eventually(lambda: maintenance.metric("iotistic_catchup_granting "))
    async with gate.closed():
        # At once, and not when it looks next: until then another may have become the one that grants.
        await eventually(
            lambda: maintenance.metric('iotistic_catchup_failures_total{code="catchup.lock_lost"}')
        )
        fleet.keep(MACS[0], 60)
        await eventually(lambda: {"catchup.database_away", "catchup.away"} & fleet.reasons)
        assert not fleet.granted

    await eventually(lambda: fleet.done)
    await eventually(lambda: rows(pool, 60))


async def test_whoever_is_killed_under_load_nothing_is_lost(devices, live, backlog, maintenance, pool):
    await asyncio.gather(*(process.start() for process in (live, backlog, maintenance)))
    fleet = await devices(MACS, KEPT)
    for number in range(KILLS):
        await eventually(lambda number=number: rows(pool, (number + 1) * len(MACS) * KEPT // (KILLS + 2)))
        victim = (backlog, maintenance, live)[number % 3]
        await victim.kill()
        await victim.start()
    await eventually(lambda: fleet.done)

    await eventually(lambda: rows(pool, KEPT * len(MACS)))
    assert await ledger(pool) == (len(MACS), KEPT * len(MACS), KEPT * len(MACS))


async def test_of_two_that_could_grant_one_does_and_the_other_takes_over(
    devices, live, backlog, maintenance, processes, pool
):
    other = processes("maintenance", CATCHUP_CHUNK="5")
    await asyncio.gather(*(process.start() for process in (live, backlog, maintenance)))
    await eventually(lambda: maintenance.metric("iotistic_catchup_granting "))
    await other.start()
    fleet = await devices(MACS[:1], 60)
    await eventually(lambda: fleet.done)
    assert fleet.sizes == {50, 10}

    await maintenance.kill()
    fleet.keep(MACS[0], 60)
    await eventually(lambda: fleet.done)
    assert fleet.sizes == {50, 10, 5}
