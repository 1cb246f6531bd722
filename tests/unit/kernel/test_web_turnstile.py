"""Requests begin one by one, in their order, and wait for nothing but that."""

import asyncio
import time

import pytest

from iotistic.kernel.web import turnstile
from iotistic.kernel.web.turnstile import Turnstile


class App:
    """Notes when requests begin, by turns of the loop; each stays until it is let go."""

    def __init__(self, busy_s=0.0):
        self.begun, self.gaps, self._busy_s = [], [], busy_s
        self.leaving = asyncio.Event()
        self._turns = 0
        self.front = Turnstile(self)

    async def __call__(self, scope, receive, send):
        self.begun.append(scope["path"])
        self.gaps.append(self._turns)
        time.sleep(self._busy_s)  # noqa: ASYNC251  the piece of work that others wait behind
        await self.leaving.wait()

    def ask(self, number, kind="http"):
        return asyncio.ensure_future(self.front({"type": kind, "path": number}, None, None))

    async def come_round(self, *, until):
        """Let the loop turn until so many have begun."""
        async with asyncio.timeout(10):
            while len(self.begun) < until:
                self._turns += 1
                await asyncio.sleep(0)

    async def end(self, *asked):
        self.leaving.set()
        await asyncio.gather(*asked)


async def test_a_burst_begins_in_its_order_one_a_turn_and_nobody_waits_for_an_end():
    app = App()
    asked = [app.ask(number) for number in range(20)]
    await app.come_round(until=20)

    assert app.begun == list(range(20))
    assert len(set(app.gaps)) == 20
    await app.end(*asked)


async def test_between_two_that_keep_the_loop_busy_it_is_free_as_long(monkeypatch):
    monkeypatch.setattr(turnstile, "_LONGEST_PAUSE_S", 1.0)
    app = App(busy_s=0.02)
    started = time.monotonic()
    asked = [app.ask(number) for number in range(3)]
    await app.come_round(until=3)

    assert time.monotonic() - started >= 0.099  # three times busy, twice free
    await app.end(*asked)


async def test_whoever_comes_when_nobody_waits_goes_through_at_once():
    app = App()
    first = app.ask("first")
    await asyncio.sleep(0)

    assert app.begun == ["first"]
    await app.end(first)


async def test_whoever_goes_away_while_waiting_takes_no_turn():
    app = App()
    asked = [app.ask(number) for number in range(4)]
    await asyncio.sleep(0)
    asked[1].cancel()
    asked[2].cancel()
    await app.come_round(until=2)

    assert app.begun == [0, 3]
    await app.end(asked[0], asked[3])


async def test_what_is_no_request_passes_by():
    app = App()
    asked = [app.ask(0), app.ask(1), app.ask("lifespan", kind="lifespan")]
    await asyncio.sleep(0)

    assert app.begun == [0, "lifespan"]
    await app.come_round(until=3)
    await app.end(*asked)


@pytest.mark.parametrize(("longest", "turns"), [(0.0, 2), (60.0, 20)])
async def test_whoever_has_waited_long_begins_with_the_next(monkeypatch, longest, turns):
    monkeypatch.setattr(turnstile, "_LONGEST_WAIT_S", longest)
    app = App()
    asked = [app.ask(number) for number in range(20)]
    await app.come_round(until=20)

    assert app.begun == list(range(20))
    assert len(set(app.gaps)) == turns
    await app.end(*asked)
