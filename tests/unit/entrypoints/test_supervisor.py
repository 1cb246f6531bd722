import asyncio
from pathlib import Path

import pytest

from iotistic.entrypoints.up.parts import PartFailed
from iotistic.entrypoints.up.supervisor import PartDied, PartRestarted, Supervisor


class Part:
    """A part whose lives are scripted: each start takes the next outcome."""

    def __init__(self, name, journal, *, fails=0, log=Path("/nonexistent")):
        self.name = name
        self.log = log
        self.journal = journal
        self.fails = fails
        self.ended = asyncio.Event()

    async def start(self):
        if self.fails:
            self.fails -= 1
            raise PartFailed
        self.ended = asyncio.Event()
        self.journal.append(f"start {self.name}")

    async def wait(self):
        await self.ended.wait()
        return 9

    async def stop(self):
        self.journal.append(f"stop {self.name}")

    def kill(self):
        self.journal.append(f"kill {self.name}")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("iotistic.entrypoints.up.supervisor._FIRST_WAIT_S", 0.001)


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the supervisor has no other sign of life
            await asyncio.sleep(0.002)


async def test_parts_stop_in_the_reverse_of_the_order_in_which_they_started():
    journal = []
    supervisor = Supervisor(lambda _event: None)
    await supervisor.start(Part("engine", journal))
    await supervisor.start(Part("worker", journal))

    await supervisor.stop()

    assert journal == ["start engine", "start worker", "stop worker", "stop engine"]


async def test_a_part_that_dies_is_started_again_and_both_are_told():
    journal, events = [], []
    supervisor = Supervisor(events.append)
    part = Part("worker", journal)
    await supervisor.start(part)

    part.ended.set()
    await until(lambda: len(events) == 2)
    await supervisor.stop()

    assert events == [PartDied("worker", 9, 0.001, 1), PartRestarted("worker", 1)]
    assert journal == ["start worker", "start worker", "stop worker"]


async def test_pauses_double_and_the_log_is_told_once_a_part_keeps_dying(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text("cannot open the door\n")
    events = []
    supervisor = Supervisor(events.append)
    part = Part("worker", [], log=log)
    await supervisor.start(part)

    part.fails = 3
    part.ended.set()
    await until(lambda: any(isinstance(event, PartRestarted) for event in events))
    await supervisor.stop()

    deaths = [event for event in events if isinstance(event, PartDied)]
    assert [death.restart_in_s for death in deaths] == [0.001, 0.002, 0.004, 0.008]
    assert [death.tail for death in deaths] == ["", "", "cannot open the door", "cannot open the door"]


async def test_nothing_is_started_again_once_stopping_has_begun():
    journal = []
    supervisor = Supervisor(lambda _event: None)
    part = Part("worker", journal)
    await supervisor.start(part)

    await supervisor.stop()
    part.ended.set()
    await asyncio.sleep(0.01)

    assert journal == ["start worker", "stop worker"]


async def test_a_part_that_does_not_start_ends_the_start_and_the_others_can_still_be_stopped():
    journal = []
    supervisor = Supervisor(lambda _event: None)

    with pytest.raises(PartFailed):
        await supervisor.start(Part("good", journal), Part("bad", journal, fails=1))
    await supervisor.stop()

    assert journal == ["start good", "stop good", "stop bad"]
