"""Controllers that all come back at once: new readings first, what they kept as it is granted, nothing lost."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fault_tools import site
from outside_tools import FREE_PORTS, api, latest
from pydantic import SecretStr

from iotistic.contracts.f2 import format_timestamp
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.simulation.f2.credentials import CredentialStore
from iotistic.simulation.f2.enrolment import Authority, enrol
from iotistic.simulation.f2.fleet import Fleet, FleetPlan, controller_mac

CONTROLLERS = 40
MACS = [controller_mac(number) for number in range(CONTROLLERS)]
ROUNDS_AWAY = 6
FEWEST_EACH = 48


@pytest.fixture(scope="module")
def running():
    with site("--workers", "1", **FREE_PORTS) as running:
        yield running


async def eventually(seen, *, within_s=30.0):
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(seen):  # noqa: ASYNC110 - what is waited for happens in processes
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def fleet_of(running, **plan):
    authority = Authority(running.ready["pki"], Path(running.ready["ca"]), SecretStr(running.ready["token"]))
    with CredentialStore(running.home / "simulator", authority=authority.fingerprint) as store:
        enrolment = await enrol(MACS, store, authority)
    broker = urlsplit(running.ready["mqtt"])
    fleet = Fleet(
        FleetPlan("localhost", broker.port, connects_per_s=500, **plan),
        enrolment.identities,
        TlsIdentities(authority.ca_certificate),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(fleet.run(stop))
    try:
        yield fleet
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


@contextlib.contextmanager
def nobody_grants(running):
    """The process that grants stands still."""
    pid = running.children()["maintenance"][0]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ledger(running):
    return api(running, "GET", "/ledger", limit="1")["totals"]


def newest_of(running, mac):
    """The time of the newest reading of a controller's first climate sensor."""
    connectors = api(running, "GET", f"/devices/{mac}")["connectors"]
    sensor = next(pin["device_id"] for connector in connectors for pin in connector["pins"])
    return latest(running, sensor)["temperature"]["timestamp"]


async def test_controllers_that_come_back_are_live_at_once_and_catch_up_as_they_are_granted(running):
    async with fleet_of(running, interval_s=4, ask_pause_s=1.0) as fleet:
        tally = fleet.tally
        await eventually(lambda: tally.connected == CONTROLLERS and tally.acknowledged > 10 * CONTROLLERS)
        with nobody_grants(running):
            fleet.cut()
            for _ in range(ROUNDS_AWAY):
                await fleet.measure_all()
            kept_back = tally.kept_back
            back_at = format_timestamp(time.time_ns() // 1000).replace(" ", "T")
            fleet.restore()
            await eventually(lambda: tally.connected == CONTROLLERS and tally.asked > CONTROLLERS)
            await eventually(lambda: newest_of(running, MACS[0]) > back_at)
            await eventually(lambda: newest_of(running, MACS[-1]) > back_at)
            still_kept_back = tally.kept_back
        await eventually(lambda: tally.kept_back == 0)
    numbered = sum(member.kept.next_number - 1 for member in fleet._members.values())
    await eventually(lambda: ledger(running)["stored"] >= numbered)
    told = ledger(running)

    assert still_kept_back >= kept_back >= FEWEST_EACH * CONTROLLERS
    assert tally.granted >= tally.caught_up >= kept_back
    assert (tally.unacknowledged, tally.lane_refused, tally.skipped) == (0, 0, 0)
    assert (told["sent"], told["stored"], told["missing"]) == (numbered, numbered, 0)
    assert api(running, "GET", "/dead-letters/summary")["open"] == 0
