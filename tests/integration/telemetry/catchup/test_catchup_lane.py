"""Devices that were away drain what they kept: broker, granter, the backlog's worker, database, ledger."""

import asyncio

import pytest
from catchup_builders import ALL_STORED, Devices, eventually, ledger

MACS = [f"02000000{number:04x}" for number in range(40)]


@pytest.fixture
async def devices(own_broker):
    made = []

    async def start(macs, each):
        made.append(Devices(own_broker, macs, each))
        made[-1].client.start()
        return made[-1]

    yield start
    for one in made:
        await one.stop()


async def test_a_backlog_is_granted_in_turns_and_stored_with_its_stamps(
    devices, live, backlog, maintenance, pool
):
    await asyncio.gather(*(process.start() for process in (live, backlog, maintenance)))
    fleet = await devices(MACS, 120)
    await eventually(lambda: fleet.done)

    async def stored():
        return await pool.fetchval(ALL_STORED) >= 120 * len(MACS)

    await eventually(stored)
    assert await ledger(pool) == (len(MACS), 120 * len(MACS), 120 * len(MACS))
    assert set(fleet.granted.values()) == {120}
