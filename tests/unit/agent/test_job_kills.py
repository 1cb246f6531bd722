"""kill -9 of the agent in the middle of jobs, over and over on one file: no step runs twice, no end goes untold."""

import asyncio
import json
import multiprocessing
import os
import random
import select
import signal
import time
from collections import Counter

import pytest
from job_rig import MemoryCloud, is_there, order, pids_in, shell, until, working

from iotistic.agent.store.store import Store

KILLS = 25
_FORK = multiprocessing.get_context("fork")


class SayingCloud(MemoryCloud):
    """Tells the parent what was reported to it."""

    def __init__(self, say, orders):
        super().__init__(*orders)
        self.say = say

    async def report(self, job_id, fields):
        self.say(json.dumps([job_id, fields["status"], fields.get("reason", "")]) + "\n")
        return await super().report(job_id, fields)


def job(folder, name):
    step = shell("first", f"echo first-{name} >> {folder}/ran; sleep 0.0{random.Random(name).randint(1, 9)}")
    more = shell("second", f"echo second-{name} >> {folder}/ran; echo $$ >> {folder}/pids; sleep 0.1")
    return order(name, step, more, finalStep=shell("clean", f"echo clean-{name} >> {folder}/ran"))


async def work(folder, say, orders):
    store = await Store.open(folder / "agent.sqlite")
    async with working(SayingCloud(say, orders), store.metadata):
        await asyncio.sleep(3600)


def child(folder, writing, orders):
    asyncio.run(work(folder, lambda line: os.write(writing, line.encode()), orders))


def live_and_die(folder, orders, lasts_s):
    """Run an agent, kill it after a while, and return what its cloud heard until then."""
    reading, writing = os.pipe()
    process = _FORK.Process(target=child, args=(folder, writing, orders))
    process.start()
    os.close(writing)
    said, until_at = b"", time.monotonic() + lasts_s
    while (left := until_at - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        said += os.read(reading, 65536)
    process.kill()
    process.join(10)
    while select.select([reading], [], [], 0)[0] and (more := os.read(reading, 65536)):
        said += more
    os.close(reading)
    code = process.exitcode
    process.close()
    assert code == -signal.SIGKILL
    return [json.loads(line) for line in said.decode().splitlines()]


def lines_of(path):
    return path.read_text().split() if path.exists() else []


@pytest.mark.slow
async def test_no_step_runs_twice_and_every_end_is_told_over_many_kills(tmp_path):
    chance, told, names = random.Random(11), [], []
    for round_number in range(KILLS):
        names += [f"job-{round_number}-{count}" for count in range(3)]
        over = {name for name, status, _ in told if status not in ("QUEUED", "IN_PROGRESS")}
        orders = [job(tmp_path, name) for name in names if name not in over]
        told += live_and_die(tmp_path, orders, 0.3 + chance.random() * 0.4)
    store = await Store.open(tmp_path / "agent.sqlite")
    over = {name for name, status, _ in told if status not in ("QUEUED", "IN_PROGRESS")}
    cloud = MemoryCloud(*(job(tmp_path, name) for name in names if name not in over))
    async with working(cloud, store.metadata):
        await until(lambda: not cloud.orders)
    await store.close()
    told += [(name, fields["status"], fields.get("reason", "")) for name, fields in cloud.reports]

    ran = Counter(lines_of(tmp_path / "ran"))
    ends = {
        name: (status, reason) for name, status, reason in told if status not in ("QUEUED", "IN_PROGRESS")
    }
    interrupted = [
        name for name, (_, reason) in ends.items() if reason.startswith("agent restarted during step")
    ]
    assert {line for line, times in ran.items() if times > 1} == set()
    assert ends.keys() == set(names)
    assert {status for status, _ in ends.values()} == {"SUCCEEDED", "FAILED"}
    assert len(interrupted) > KILLS / 3
    assert {name for name, (status, _) in ends.items() if status == "FAILED"} == set(interrupted)
    assert all(
        ran[f"{part}-{name}"] == 1
        for name, (status, _) in ends.items()
        if status == "SUCCEEDED"
        for part in ("first", "second", "clean")
    )
    assert not any(map(is_there, pids_in(tmp_path / "pids")))


async def test_the_process_of_an_agent_that_was_killed_is_ended_by_the_next(tmp_path):
    hang = "setsid sleep 300 & echo $! >> {0}/pids; sleep 300 & echo $! >> {0}/pids; trap '' TERM; echo $$ >> {0}/pids; while :; do sleep 1; done"
    job_order = order(
        "one", shell("hang", hang.format(tmp_path)), finalStep=shell("clean", f"echo clean >> {tmp_path}/ran")
    )
    told = live_and_die(tmp_path, [job_order], 1.0)
    left = [pid for pid in pids_in(tmp_path / "pids") if is_there(pid)]
    store = await Store.open(tmp_path / "agent.sqlite")
    cloud = MemoryCloud(job_order)
    async with working(cloud, store.metadata):
        await until(lambda: cloud.final("one"))
    await store.close()

    assert [status for _, status, _ in told] == ["IN_PROGRESS"]
    assert len(left) == 3
    await until(lambda: not any(map(is_there, left)))
    said = cloud.final("one")[0]
    assert (said["status"], said["reason"], said["failed_step"]) == (
        "FAILED",
        "agent restarted during step hang",
        "hang",
    )
    assert lines_of(tmp_path / "ran") == ["clean"]
