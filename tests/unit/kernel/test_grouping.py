"""What comes while others are served is served together."""

import asyncio

import pytest

from iotistic.kernel.grouping import Grouped, TooManyWaiting


class Acting:
    """Doubles numbers, once it is let; remembers what came together."""

    def __init__(self):
        self.turns, self.free = [], asyncio.Event()

    async def __call__(self, items):
        self.turns.append(list(items))
        await self.free.wait()
        return [2 * item for item in items]


async def asked(grouped, items):
    tasks = [asyncio.create_task(grouped.ask(item)) for item in items]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_during_a_turn_makes_up_the_next():
    acting = Acting()
    grouped = Grouped(acting, name="test", most=2)
    tasks = await asked(grouped, [1])
    tasks += await asked(grouped, [2, 3, 4])
    acting.free.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert acting.turns == [[1], [2, 3], [4]]


async def test_a_failure_reaches_everybody_of_its_turn_and_nobody_else():
    async def act(items):
        if 1 in items:
            raise ConnectionError("away")
        return items

    grouped = Grouped(act, name="test", most=2)
    tasks = await asked(grouped, [1, 2, 3])
    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert [str(one) for one in found] == ["away", "away", "3"]


async def test_a_turn_that_answers_too_few_fails():
    async def act(items):
        return items[1:]

    with pytest.raises(ValueError, match="shorter"):
        await Grouped(act, name="test").ask(1)


async def test_who_gave_up_holds_nobody_else():
    acting = Acting()
    grouped = Grouped(acting, name="test")
    (first,) = await asked(grouped, [1])
    gone, staying = await asked(grouped, [2, 3])
    gone.cancel()
    acting.free.set()

    assert await asyncio.gather(first, staying) == [2, 6]


async def test_too_many_are_told_to_come_again():
    acting = Acting()
    grouped = Grouped(acting, name="test", most=1, most_waiting=2)
    tasks = await asked(grouped, [1])
    tasks += await asked(grouped, [2, 3])
    with pytest.raises(TooManyWaiting):
        await grouped.ask(4)
    acting.free.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6]
