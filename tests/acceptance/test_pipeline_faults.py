"""The whole pipeline over Kafka under load, and everything in it killed: stored once, and the ledger says so.

FAULT_KILLS, FAULT_LOSSES, FAULT_STORM and FAULT_LEADERS make it longer, FAULT_SEED repeats a run; `iotistic bench faults`
is the same at length, with the times to heal.
"""

import sys
from dataclasses import replace

import pytest
from benchmarks.fault_account import healing_table
from benchmarks.fault_run import FaultRun
from benchmarks.fault_site import VICTIMS, SiteOptions, fault_site
from benchmarks.faults import FaultPlan

PLAN = FaultPlan.of_environment(quick=True)
# Short, since the tests of a busy machine wait for it; healing depends on it, losing does not.
QUICK = SiteOptions(session_s=1.5)


def under_load(site):
    return FaultRun.under_load(site, devices=PLAN.devices, rate=PLAN.rate, seed=PLAN.seed, say=tell)


def tell(*lines):
    sys.stdout.write("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_kills_of_everything_a_broker_that_forgets_and_a_rebalance_storm_lose_and_double_nothing():
    tell(str(PLAN))
    async with fault_site(QUICK) as site, under_load(site) as run:
        killed = await run.kills(PLAN.kills)
        forgotten = await run.losses(PLAN.losses)
        stirred = await run.storm(PLAN.storm)
        account = await run.account()

        tell(
            account.table, *map(healing_table, (killed, forgotten, stirred)), str(replace(account, table=""))
        )
        assert len({fault.what for fault in killed}) == min(PLAN.kills, len(VICTIMS))
        assert account.sent_again > 0
        assert account.is_whole


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_three_brokers_lose_a_leader_and_nothing_else():
    tell(str(PLAN))
    async with fault_site(replace(QUICK, brokers=3)) as site, under_load(site) as run:
        lost = await run.leaders(max(1, PLAN.leaders))
        account = await run.account()

        tell(account.table, healing_table(lost), str(replace(account, table="")))
        assert account.is_whole
