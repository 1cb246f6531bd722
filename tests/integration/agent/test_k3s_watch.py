"""A list that is followed, whatever a watch of Kubernetes does. What only a double can do; the rest is real where it can be."""

import asyncio
from contextlib import aclosing

import pytest
from aiohttp import web
from kube_double import TOKEN, KubeDouble

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s.access import Access
from iotistic.agent.engines.k3s.client import KubeClient
from iotistic.agent.engines.k3s.watching import Watcher, What

PATH = "api/v1/namespaces/default/configmaps"


class Followed:
    """A list of a double, and what a watcher says of it."""

    def __init__(self, double, address):
        self.double = double
        self.client = KubeClient(Access(address, token=TOKEN))
        self.words = []
        self.asked = []
        self.task = None

    def follow(self, **more):
        self.task = asyncio.create_task(self._follow(Watcher(self.client, PATH, **more)))

    async def _follow(self, watcher):
        async with aclosing(watcher.follow()) as words:
            async for word in words:
                self.words.append((word.what, sorted(one["metadata"]["name"] for one in word.documents)))

    async def make(self, name):
        body = {"metadata": {"name": name, "labels": {"iotistic.managed": "true"}}}
        await self.client.create(PATH, body)

    async def until(self, count):
        async with asyncio.timeout(10):
            while len(self.words) < count:
                assert not self.task.done(), self.task.exception()
                await asyncio.sleep(0.01)


@pytest.fixture
async def followed():
    double = KubeDouble()
    async with double.serving() as address:
        one = Followed(double, address)
        yield one
        if one.task is not None:
            one.task.cancel()
            await asyncio.gather(one.task, return_exceptions=True)
        await one.client.close()


async def test_all_there_is_and_then_each_change_is_told(followed):
    await followed.make("a")
    followed.follow()
    await followed.until(1)
    await followed.make("b")
    await followed.client.patch(f"{PATH}/a", {"data": {"x": "1"}})
    await followed.client.delete(f"{PATH}/a")
    await followed.until(4)

    assert followed.words == [
        (What.LISTED, ["a"]),
        (What.CHANGED, ["b"]),
        (What.CHANGED, ["a"]),
        (What.DELETED, ["a"]),
    ]


async def test_a_watch_that_the_server_ends_goes_on_from_where_it_was(followed):
    followed.follow(watch_for_s=0.1)
    await followed.until(1)
    for number in range(5):
        await followed.make(f"a{number}")
        await asyncio.sleep(0.1)
    await followed.until(6)

    assert [what for what, _ in followed.words] == [What.LISTED] + [What.CHANGED] * 5


async def test_a_version_that_is_too_old_is_followed_by_a_list(followed):
    followed.follow(watch_for_s=0.2)
    await followed.until(1)
    followed.double.bookmark_every_s = 60
    followed.double.put(
        "configmaps", "default", {"metadata": {"name": "a", "labels": {"iotistic.managed": "true"}}}
    )
    followed.double.compact()
    await followed.until(2)

    assert followed.words[1] == (What.LISTED, ["a"])


@pytest.mark.parametrize("status", [410])
async def test_a_watch_that_is_refused_as_too_old_is_followed_by_a_list(followed, status):
    await followed.make("a")
    followed.follow(watch_for_s=0.2)
    await followed.until(1)
    followed.double.refusals.append((status, "too old resource version"))
    await followed.until(2)

    assert followed.words == [(What.LISTED, ["a"])] * 2


async def test_bookmarks_keep_the_version_young(followed):
    followed.double.bookmark_every_s = 0.02
    followed.follow(watch_for_s=0.3)
    await followed.until(1)
    # What happens to others moves the version on; without bookmarks ours would be too old after this.
    for number in range(10):
        followed.double.put("secrets", "default", {"metadata": {"name": f"s{number}"}})
    await asyncio.sleep(0.1)
    followed.double.compact()
    await asyncio.sleep(0.4)
    await followed.make("a")
    await followed.until(2)

    assert followed.words == [(What.LISTED, []), (What.CHANGED, ["a"])]


async def test_a_watch_on_which_nothing_comes_is_begun_anew(followed):
    followed.follow(silent_for_s=0.1)
    await followed.until(1)
    await asyncio.sleep(0.3)
    await followed.make("a")
    await followed.until(2)

    assert followed.words[1:] == [(What.CHANGED, ["a"])]


async def ended(followed):
    async with asyncio.timeout(10):
        await asyncio.wait({followed.task})
    return followed.task.exception()


async def test_no_right_to_watch_is_an_engine_that_is_away(followed):
    followed.double.refusals.append((403, "configmaps is forbidden"))
    followed.follow()
    exc = await ended(followed)

    assert isinstance(exc, EngineUnavailable)
    assert "forbidden" in exc.message


@pytest.mark.parametrize(
    "line", [b"{\n", b"[]\n", b'{"type": "ADDED"}\n', b"null\n", b'{"type":"ERROR","object":{"code":500}}\n']
)
async def test_garbage_in_a_watch_is_an_engine_that_is_away(line):
    async def answer(request):
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        return web.Response(body=line)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = KubeClient(Access(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    words = Watcher(client, PATH).follow()
    assert (await anext(words)).documents == []
    with pytest.raises(EngineUnavailable):
        await asyncio.wait_for(anext(words), 10)
    await client.close()
    await runner.cleanup()


async def test_a_server_that_goes_away_is_noticed():
    double = KubeDouble()
    async with double.serving() as address:
        one = Followed(double, address)
        one.follow()
        await one.until(1)
    exc = await ended(one)
    await one.client.close()

    assert isinstance(exc, EngineUnavailable)
