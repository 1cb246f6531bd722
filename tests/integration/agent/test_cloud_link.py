"""The agent's talk with a cloud over real HTTP."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from tests.integration.agent.cloud_double import KEY, UUID, CloudDouble

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.cloud import Cloud, CloudAddress
from iotistic.agent.link.errors import CloudDenied, CloudRefused, CloudUnavailable, CloudUnintelligible
from iotistic.agent.link.following import Around, Followed, Follower
from iotistic.agent.link.pacing import Pace, Reach
from iotistic.agent.link.telling import Teller
from iotistic.kernel.errors import IotisticError
from iotistic.planning.model import Target

WITHIN_S = 5.0
WEB = {"serviceId": 3, "serviceName": "web", "imageName": "web:1"}


@contextlib.asynccontextmanager
async def talking(key: str = KEY) -> AsyncIterator[tuple[CloudDouble, Cloud]]:
    async with CloudDouble().running() as double:
        cloud = Cloud(CloudAddress(double.url), UUID, lambda: key)
        try:
            yield double, cloud
        finally:
            await cloud.close()


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.01)


async def test_a_target_is_asked_for_and_not_sent_again() -> None:
    async with talking() as (double, cloud):
        double.deploy([WEB])
        first = await cloud.target("")
        second = await cloud.target(first.etag)

        assert first.document == double.state
        assert second.document is None
        assert second.etag == first.etag


async def test_a_target_that_comes_in_many_pieces_is_read_whole() -> None:
    async with talking() as (double, cloud):
        double.deploy([{**WEB, "config": {"environment": {f"NAME_{n}": "x" * 1000 for n in range(1500)}}}])
        answer = await cloud.target("")
        assert answer.document == double.state


async def test_reports_arrive_whole_small_or_large() -> None:
    async with talking() as (double, cloud):
        await cloud.report({"is_online": True})
        await cloud.report({"apps": {str(number): {} for number in range(500)}}, Purpose.METRICS)

        assert double.reports[0] == {"is_online": True}
        assert len(double.reports[1]["apps"]) == 500
        assert double.requests[1].headers["Content-Encoding"] == "gzip"
        assert 0 < cloud.budget.sent[Purpose.METRICS] < 3000
        assert cloud.budget.sent[Purpose.LOGS] == 0


async def test_one_connection_serves_many_requests() -> None:
    async with talking() as (double, cloud):
        for _ in range(5):
            await cloud.target("")
        assert len({request.transport for request in double.requests}) == 1


async def test_a_wrong_key_is_denied_with_the_clouds_words() -> None:
    async with talking("wrong") as (_, cloud):
        with pytest.raises(CloudDenied, match="the key is wrong"):
            await cloud.target("")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (web.Response(status=500, text="oops"), CloudUnavailable),
        (web.Response(status=503), CloudUnavailable),
        (web.json_response({"message": "no such field"}, status=400), CloudRefused),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), CloudUnintelligible),
        (web.Response(text="<html>a hotel's login page</html>"), CloudUnintelligible),
        (web.Response(text="[" * 100_000), CloudUnintelligible),
        (web.json_response([]), CloudUnintelligible),
        (web.json_response({"another device": {}}), CloudUnintelligible),
        (web.json_response({UUID: 5}), CloudUnintelligible),
        (web.Response(body=b"\xff\xfe"), CloudUnintelligible),
        (web.Response(body=b"[" + b"1," * (2 << 20) + b"1]"), CloudUnintelligible),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_whatever_it_answers_is_one_of_our_errors(
    answer: web.Response, expected: type[IotisticError]
) -> None:
    async with talking() as (double, cloud):
        double.instead = answer
        with pytest.raises(expected):
            await cloud.target("")


async def test_the_cloud_says_when_to_come_again() -> None:
    async with talking() as (double, cloud):
        double.instead = web.Response(status=429, headers={"Retry-After": "120"})
        with pytest.raises(CloudUnavailable) as raised:
            await cloud.target("")
        assert raised.value.retry_after_s == 120


async def test_nobody_there_is_unavailable() -> None:
    cloud = Cloud(CloudAddress("http://127.0.0.1:9/api/v1"), UUID, lambda: KEY)
    with pytest.raises(CloudUnavailable):
        await cloud.target("")
    await cloud.close()


class Following:
    """A follower, and what it declared and kept."""

    def __init__(self, cloud: Cloud, interval_s: float = 0.05) -> None:
        self.declared: list[Target] = []
        self.kept: list[Followed] = []
        self.disk_is_full = False
        around = Around(time.time, lambda: 0.5, self.declared.append, self._keep)
        self.follower = Follower(cloud, Pace(UUID, interval_s), around)

    async def _keep(self, followed: Followed) -> None:
        if self.disk_is_full:
            raise CloudUnavailable("the disk is full")
        self.kept.append(followed)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Following"]:
        task = asyncio.create_task(self.follower.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def images(self) -> list[str]:
        if not self.declared:
            return []
        return [service.config.image for app in self.declared[-1].apps for service in app.services]


async def test_a_new_target_is_declared_once_and_kept_first() -> None:
    async with talking() as (double, cloud), Following(cloud).running() as following:
        double.deploy([WEB])
        await until(lambda: following.images() == ["web:1"])
        await asyncio.sleep(0.2)
        double.deploy([{**WEB, "imageName": "web:2"}])
        await until(lambda: following.images() == ["web:2"])

        assert [kept.version for kept in following.kept][-2:] == [2, 3]
        assert len(following.declared) <= 3


async def test_a_target_that_makes_no_sense_changes_nothing_and_is_told() -> None:
    async with talking() as (double, cloud), Following(cloud).running() as following:
        double.deploy([WEB])
        await until(lambda: following.images() == ["web:1"])
        double.deploy([{**WEB, "imageName": "web:2", "privileged": True}])
        await until(lambda: following.follower.faults)

        assert following.images() == ["web:1"]
        assert following.follower.in_force == following.kept[-1]
        assert "privileged" in str(following.follower.faults[0])
        asked = len(double.requests)
        await until(lambda: len(double.requests) > asked + 2)
        assert len(following.kept) <= 2
        double.deploy([{**WEB, "imageName": "web:3"}])
        await until(lambda: following.images() == ["web:3"])
        assert following.follower.faults == ()


async def test_a_notice_makes_it_ask_at_once() -> None:
    async with talking() as (double, cloud), Following(cloud, interval_s=3600).running() as following:
        await until(lambda: following.declared)
        double.deploy([WEB])
        following.follower.ask_now()
        await until(lambda: following.images() == ["web:1"])


async def test_what_was_kept_is_worked_on_while_the_cloud_is_away() -> None:
    cloud = Cloud(CloudAddress("http://127.0.0.1:9/api/v1"), UUID, lambda: KEY)
    following = Following(cloud)
    document = {"apps": {"7": {"services": [WEB]}}, "version": 4}
    following.follower.begin_with(Followed(document, "etag"))
    async with following.running():
        await until(lambda: following.follower.reach is not Reach.ONLINE or following.images())
    assert following.images() == ["web:1"]
    await cloud.close()


async def test_a_full_disk_keeps_no_target_from_being_worked_on() -> None:
    async with talking() as (double, cloud):
        following = Following(cloud)
        following.disk_is_full = True
        async with following.running():
            double.deploy([WEB])
            await until(lambda: following.images() == ["web:1"])


async def test_a_target_is_kept_as_soon_as_the_disk_takes_it() -> None:
    """Otherwise the next start without a network would bring the one before back."""
    async with talking() as (double, cloud):
        double.deploy([WEB])
        following = Following(cloud, 0.02)
        following.disk_is_full = True
        async with following.running():
            await until(lambda: following.declared)
            following.disk_is_full = False
            await until(lambda: following.kept)
            await asyncio.sleep(0.1)

        assert [one.document for one in following.kept] == [double.state]
        assert len(following.declared) == 1


async def test_the_cloud_gets_what_changed_and_figures_now_and_then() -> None:
    state: dict[str, Any] = {"is_online": True, "version": 1, "apps": {}}
    async with talking() as (double, cloud):
        teller = Teller(
            cloud,
            Pace(UUID, 0.05),
            state=lambda: state,
            metrics=lambda: {"cpu_usage": 3.5},
            clock=time.time,
            chance=lambda: 0.5,
            metrics_every_s=lambda: 3600.0,
        )
        task = asyncio.create_task(teller.run())
        await until(lambda: double.known.get("cpu_usage") == 3.5)
        await asyncio.sleep(0.3)
        assert len(double.reports) == 2
        state["apps"] = {"7": {"appId": 7}}
        teller.changed()
        await until(lambda: double.known.get("apps") == state["apps"])
        assert double.reports[-1] == {"is_online": True, "version": 1, "apps": {"7": {"appId": 7}}}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_figures_are_told_again_after_a_clock_was_set_back_a_year() -> None:
    now = [time.time()]
    async with talking() as (double, cloud):
        teller = Teller(
            cloud,
            Pace(UUID, 0.05),
            state=dict[str, Any],
            metrics=lambda: {"cpu_usage": 3.5},
            clock=lambda: now[0],
            chance=lambda: 0.5,
            metrics_every_s=lambda: 3600.0,
        )
        task = asyncio.create_task(teller.run())
        await until(lambda: "cpu_usage" in double.known)
        double.known.clear()
        now[0] -= 365 * 86_400
        await until(lambda: "cpu_usage" in double.known)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_answer_that_is_deeper_than_the_stack_is_refused() -> None:
    """It was kept, or rather was not: the agent ended of it, at each start anew."""
    deep: dict[str, Any] = {}
    for _ in range(600):
        deep = {"a": deep}
    async with talking() as (double, cloud):
        double.state["config"] = deep
        with pytest.raises(CloudUnintelligible):
            await cloud.target("")
