"""Requests for one path begin some time apart, in their order; others do not wait, and nobody waits long."""

import asyncio
import itertools

import pytest

from iotistic.kernel.web import spacing
from iotistic.kernel.web.spacing import Spaced

APART_S = 0.02


class App:
    """Notes when requests begin."""

    def __init__(self):
        self.begun = []
        self.front = Spaced(self, path="/slow", apart_s=APART_S)

    async def __call__(self, scope, receive, send):
        self.begun.append((scope["number"], asyncio.get_running_loop().time()))

    async def ask(self, *paths, kind="http"):
        asked = [{"type": kind, "path": path, "number": number} for number, path in enumerate(paths)]
        await asyncio.gather(*[self.front(scope, None, None) for scope in asked])
        return [number for number, _ in self.begun]


async def test_requests_for_the_path_begin_apart_in_their_order():
    app = App()

    assert await app.ask(*["/slow"] * 5) == [0, 1, 2, 3, 4]
    times = [at for _, at in app.begun]
    assert min(after - before for before, after in itertools.pairwise(times)) >= APART_S * 0.8


@pytest.mark.parametrize(("path", "kind"), [("/other", "http"), ("/slow/er", "http"), ("/slow", "websocket")])
async def test_others_begin_at_once(path, kind):
    app = App()
    started = asyncio.get_running_loop().time()
    await app.ask(*[path] * 20, kind=kind)

    assert app.begun[-1][1] - started < APART_S


async def test_whoever_comes_when_nobody_has_for_a_while_begins_at_once():
    app = App()
    await app.ask("/slow")
    await asyncio.sleep(APART_S * 1.5)
    started = asyncio.get_running_loop().time()
    await app.ask("/slow")

    assert app.begun[-1][1] - started < APART_S


async def test_a_flood_waits_no_longer_than_it_may_and_is_not_collected(monkeypatch):
    monkeypatch.setattr(spacing, "_LONGEST_WAIT_S", 0.1)
    app = App()
    started = asyncio.get_running_loop().time()
    order = await app.ask(*["/slow"] * 200)

    assert sorted(order) == list(range(200))
    assert order[0] == 0
    assert app.begun[-1][1] - started < 0.1 + APART_S * 5


async def test_one_that_goes_away_while_it_waits_keeps_nobody():
    app = App()
    asked = [
        asyncio.ensure_future(app.front({"type": "http", "path": "/slow", "number": number}, None, None))
        for number in range(3)
    ]
    await asyncio.sleep(0)
    asked[1].cancel()
    await asyncio.gather(*asked, return_exceptions=True)

    assert [number for number, _ in app.begun] == [0, 2]
