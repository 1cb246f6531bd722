import asyncio

import pytest

from iotistic.telemetry.transports.draining import Ending, run_and_drain


class Pipe:
    """One worker that finishes what its source took in."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[int] = asyncio.Queue()
        self.held = 0
        self.finished = asyncio.Event()
        self.finished.set()
        self.left = False

    async def feed(self) -> None:
        for number in range(1_000_000):
            self.held += 1
            await self.taken.put(number)
            await asyncio.sleep(0)

    async def work(self) -> None:
        while True:
            await self.taken.get()
            await self.finished.wait()
            self.held -= 1

    async def leave(self) -> None:
        self.left = True

    def ending(self, within_s: float = 5) -> Ending:
        return Ending(lambda: self.held == 0, self.leave, within_s)


async def test_what_was_taken_in_is_finished_before_leaving() -> None:
    pipe, stop = Pipe(), asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, stop.set)
    await run_and_drain(stop, pipe.feed(), [pipe.work()], pipe.ending())
    assert pipe.left
    assert pipe.held == 0


async def test_a_worker_that_hangs_holds_nobody_longer_than_was_said() -> None:
    pipe, stop = Pipe(), asyncio.Event()
    pipe.finished.clear()
    asyncio.get_running_loop().call_later(0.02, stop.set)
    await asyncio.wait_for(run_and_drain(stop, pipe.feed(), [pipe.work()], pipe.ending(0.05)), 5)
    assert pipe.held


async def test_a_fault_of_a_worker_ends_it_loudly() -> None:
    pipe = Pipe()

    async def fail() -> None:
        await pipe.taken.get()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_and_drain(asyncio.Event(), pipe.feed(), [fail()], pipe.ending())


async def test_it_ends_by_itself_when_it_is_only_to_work_until_something() -> None:
    pipe = Pipe()
    await run_and_drain(asyncio.Event(), pipe.feed(), [pipe.work()], pipe.ending(), until=asyncio.sleep(0.01))
    assert pipe.left
