"""Kills, a rebalance storm and lost leaders under load: what is missing, what is double, how long healing takes.

    FAULT_KILLS, FAULT_LOSSES, FAULT_STORM, FAULT_LEADERS   how many of each (200, 10, 40, 10; quick: 7, 1, 3, 0)
    FAULT_RATE                                              messages a second (600; quick: 300)
    FAULT_SEED                                              what is drawn; printed, so that a run can be repeated

Connector, processor, sink, Kafka, Redis, PostgreSQL and Mosquitto are killed with `kill -9` at random and
started again at once; a quarter of the kills fall while the one before still heals. Then connector and
Mosquitto die together, which loses what was acknowledged until devices are asked for it. The account at the
end compares the rows with what was published, and the ledger with both.
"""

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from benchmarks.fault_account import Account, healing_table, seconds
from benchmarks.fault_run import FaultRun
from benchmarks.fault_site import FaultSite, SiteOptions, fault_site
from benchmarks.fault_watch import Fault
from benchmarks.framework import Report, at_least, at_most, percentile


@dataclass(frozen=True)
class FaultPlan:
    """How much is broken, under which load."""

    kills: int
    losses: int
    storm: int
    leaders: int
    rate: int
    seed: int
    devices: int = 12

    @classmethod
    def of_environment(cls, *, quick: bool) -> "FaultPlan":
        """Take what the environment says."""
        return cls(
            _given("FAULT_KILLS", 7 if quick else 200),
            _given("FAULT_LOSSES", 1 if quick else 10),
            _given("FAULT_STORM", 3 if quick else 40),
            _given("FAULT_LEADERS", 0 if quick else 10),
            _given("FAULT_RATE", 300 if quick else 600),
            _given("FAULT_SEED", random.SystemRandom().randrange(1 << 32)),
        )


def _given(name: str, usual: int) -> int:
    return int(os.environ.get(name, usual))


def run(quick: bool, report: Report) -> None:
    asyncio.run(_run(FaultPlan.of_environment(quick=quick), report))


async def _run(plan: FaultPlan, report: Report) -> None:
    report.progress(str(plan))
    await _one_broker(plan, report)
    if plan.leaders:
        await _three_brokers(plan, report)


async def _one_broker(plan: FaultPlan, report: Report) -> None:
    async with fault_site() as site, _under_load(site, plan, report) as faults:
        killed = await faults.kills(plan.kills)
        both = await faults.losses(plan.losses)
        stirred = await faults.storm(plan.storm)
        account = await faults.account()
    _tell(report, "kill -9", killed)
    _tell(report, "connector and broker together", both)
    _tell(report, "rebalance storm", stirred)
    _tell_account(report, "all of it", account)


async def _three_brokers(plan: FaultPlan, report: Report) -> None:
    async with fault_site(SiteOptions(brokers=3)) as site, _under_load(site, plan, report) as faults:
        lost = await faults.leaders(plan.leaders)
        account = await faults.account()
    _tell(report, "one of three brokers lost", lost)
    _tell_account(report, "one of three brokers lost", account)


def _under_load(site: FaultSite, plan: FaultPlan, report: Report) -> AbstractAsyncContextManager[FaultRun]:
    return FaultRun.under_load(
        site, devices=plan.devices, rate=plan.rate, seed=plan.seed, say=report.progress
    )


def _tell(report: Report, name: str, faults: Sequence[Fault]) -> None:
    report.console.print(f"\n{name}: seconds\n{healing_table(faults)}\n", highlight=False, soft_wrap=True)
    for what in ("flowing", "whole"):
        found = seconds(faults, what)
        for percent in (50, 99, 100):
            label = "longest" if percent == 100 else f"p{percent}"
            report.add(f"{name}: until {what}, {label}", percentile(found, percent), "s")


def _tell_account(report: Report, name: str, account: Account) -> None:
    report.console.print(account.table, highlight=False, markup=False, soft_wrap=True)
    report.add(f"{name}: messages published", account.messages, "messages")
    report.add(f"{name}: sent again because the ledger asked", account.sent_again, "messages")
    report.add(f"{name}: readings published", account.readings, "readings")
    report.add(f"{name}: readings missing", account.missing, "readings", goal=at_most(0))
    report.add(f"{name}: rows too many", account.doubled, "rows", goal=at_most(0))
    report.add(f"{name}: missing in the ledger", account.totals["missing"], "messages", goal=at_most(0))
    report.add(
        f"{name}: stored by the ledger", account.totals["stored"], "messages",
        reference=account.messages, goal=at_least(1.0, of="ratio"),
    )  # fmt: skip
