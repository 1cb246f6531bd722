"""Lines in files on the device."""

import asyncio
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType
from iotistic.agent.logs.files import LogFiles


def entry(number=0, size=0):
    source = Source(SourceType.CONTAINER, "web")
    return LogEntry(f"e{number}", "x" * size, number, Level.INFO, source, "3", "web", "c1")


def numbers(path):
    return [json.loads(line)["timestamp"] for line in path.read_text().splitlines()]


async def run_once(files):
    """Run, and be told to end: what is held is written."""
    task = asyncio.create_task(files.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_lines_are_written_at_the_end_at_the_latest(tmp_path):
    files = LogFiles(tmp_path / "logs", every_s=1000)
    for number in range(3):
        files.take(entry(number))
    await run_once(files)

    assert numbers(files.path) == [0, 1, 2]
    assert files.path.stat().st_mode & 0o777 == 0o600


async def test_lines_are_written_now_and_then(tmp_path):
    files = LogFiles(tmp_path, every_s=0.01)
    task = asyncio.create_task(files.run())
    files.take(entry(1))
    async with asyncio.timeout(5):
        while not files.path.exists() or not files.path.stat().st_size:  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert numbers(files.path) == [1]


@given(st.lists(st.integers(0, 900), max_size=80))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_files_stay_within_their_bounds_and_keep_the_youngest(tmp_path_factory, sizes):
    files = LogFiles(tmp_path_factory.mktemp("logs"), max_bytes=2000, kept=2)
    for number, size in enumerate(sizes):
        files.take(entry(number, size))
        files._put(files._taken())
    found = [path for path in (files._numbered(2), files._numbered(1), files.path) if path.exists()]
    kept = [number for path in found for number in numbers(path)]

    assert all(path.stat().st_size <= 2000 for path in found)
    assert kept == list(range(len(sizes)))[len(sizes) - len(kept) :]
    assert len(list(files.path.parent.iterdir())) <= 3


async def test_a_disk_that_takes_no_writes_costs_lines_and_nothing_else(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    files = LogFiles(tmp_path / "taken")
    files.take(entry(1))
    await run_once(files)
    (tmp_path / "taken").unlink()
    files.take(entry(2))
    await run_once(files)

    assert files.lost == 1
    assert numbers(files.path) == [2]


def test_what_cannot_be_written_soon_enough_is_counted(tmp_path):
    files = LogFiles(tmp_path)
    for number in range(100):
        files.take(entry(number, 16_000))

    assert 0 < files.lost < 100
    assert files._held_bytes <= 1 << 20


async def test_files_may_be_switched_off_and_on(tmp_path):
    files = LogFiles(tmp_path)
    files.is_enabled = False
    files.take(entry(1))
    files.is_enabled = True
    files.take(entry(2))
    await run_once(files)

    assert numbers(files.path) == [2]
