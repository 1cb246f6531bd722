"""What was acknowledged is stored, once, whatever is killed: the real processes, under load, with kill -9.

FAULT_KILLS and FAULT_QUEUED make it longer.
"""

import os
import random
import signal
import sys
import time

import pytest
from fault_tools import (
    Recorder,
    fill,
    healthy,
    ledger,
    metric,
    settled,
    site,
    small_disk,
    stored,
    until,
)

KILLS = int(os.environ.get("FAULT_KILLS", "9"))
QUEUED = int(os.environ.get("FAULT_QUEUED", "20000"))
RATE = 1000
COMPONENTS = ("ingest", "broker", "database")


def lost_and_doubled(running, recorders):
    lost, doubled = {}, {}
    for recorder in recorders:
        acknowledged = recorder.acknowledged
        until(
            lambda r=recorder, a=acknowledged: a <= set(stored(running, r.device)),
            30,
            lambda r=recorder, a=acknowledged: f"lost: {sorted(a - set(stored(running, r.device)))[:20]}",
        )
        values = stored(running, recorder.device)
        lost[recorder.device] = sorted(acknowledged - set(values))
        doubled[recorder.device] = len(values) - len(set(values))
    return lost, doubled


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_under_load_lose_and_double_nothing():
    chance = random.Random(7)
    plan = [COMPONENTS[n % 3] for n in range(KILLS // 2)]
    plan += [chance.choice(COMPONENTS) for _ in range(KILLS - len(plan))]
    with site() as running:
        recorders = [Recorder(running, name=f"recorder-{n}", rate=RATE / 2) for n in range(2)]
        for recorder in recorders:
            recorder.start()
        until(lambda: all(len(r.acknowledged) > 500 for r in recorders), 30)
        for component in plan:
            time.sleep(chance.uniform(0.05, 0.6))  # not a wait: kills fall at any instant of the work
            running.until_whole(component, running.kill(component))
        acknowledged = [recorder.finish() for recorder in recorders]
        lost, doubled = lost_and_doubled(running, recorders)

        reconnects = sum(recorder.reconnects for recorder in recorders)
        # Rows are stored first; stamps are folded into the ledger moments later.
        until(lambda: ledger(running)[0]["stored"] >= sum(acknowledged), 30, lambda: ledger(running)[1])
        totals, table = ledger(running)
        sys.stdout.write(table)
        sys.stdout.write(f"{KILLS} kills, {sum(acknowledged)} acknowledged, {reconnects} reconnects\n")
        assert set(map(tuple, lost.values())) == {()}
        assert set(doubled.values()) == {0}
        assert (totals["missing"], totals["stored"]) == (0, sum(acknowledged))
        assert min(acknowledged) > 50 * KILLS
        assert running.stop() == 0


@pytest.mark.slow
def test_a_broker_restart_with_thousands_of_messages_queued_loses_none():
    with site() as running:
        worker = running.children()["ingest"][0]
        os.kill(worker, signal.SIGSTOP)
        recorder = Recorder(running, name="queued", rate=10_000, window=2000)
        recorder.start()
        until(lambda: recorder.sent >= QUEUED, 60)
        acknowledged = recorder.finish()

        broker = running.children()["broker"][0]
        os.kill(broker, signal.SIGTERM)
        until(lambda: running.children()["broker"] not in ([], [broker]), 60)
        os.kill(worker, signal.SIGCONT)

        assert acknowledged >= QUEUED
        until(lambda: len(stored(running, "queued")) >= acknowledged, 60)
        assert lost_and_doubled(running, [recorder]) == ({"queued": []}, {"queued": 0})


@pytest.mark.slow
@pytest.mark.needs_root
def test_a_full_disk_stops_acknowledging_and_recovers_by_itself():
    with small_disk(mib=700) as folder, site(folder=folder) as running:
        recorder = Recorder(running, name="full", rate=RATE / 5)
        recorder.start()
        until(lambda: len(stored(running, "full")) > 200, 30)

        ballast = folder / "ballast"
        fill(ballast)
        until(lambda: not healthy(running, "ingest-0"), 60)
        at_rest = until(lambda: settled(lambda: metric(running, "iotistic_ingest_messages_total")), 30)
        ballast.unlink()

        until(lambda: healthy(running, "ingest-0"), 90, lambda: running.log.read_text()[-3000:])
        until(lambda: metric(running, "iotistic_ingest_messages_total") > at_rest, 60)
        recorder.finish()
        assert lost_and_doubled(running, [recorder]) == ({"full": []}, {"full": 0})
