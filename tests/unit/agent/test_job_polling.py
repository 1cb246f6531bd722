"""When a device asks for jobs. The time stands still: what is asked, is asked for another reason."""

import asyncio
import contextlib

from job_rig import UUID, MemoryCloud, until

from iotistic.agent.jobs.polling import Poller


class Polling:
    def __init__(self):
        self.cloud, self.is_announcing, self.looks, self.now = MemoryCloud(), True, 0, 1000.0

    def announces(self):
        self.looks += 1
        return self.is_announcing

    async def receive(self, message):
        pass

    @contextlib.asynccontextmanager
    async def running(self, interval_s=0.01):
        poller = Poller(
            self.cloud,
            UUID,
            interval_s,
            self.receive,
            clock=lambda: self.now,
            chance=lambda: 0.5,
            announces=self.announces,
        )
        task = asyncio.create_task(poller.run())
        try:
            yield poller
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def for_a_while(self):
        looks = self.looks
        await until(lambda: self.looks > looks + 10)


async def test_it_asks_when_announcements_come_and_when_they_go():
    polling = Polling()
    async with polling.running():
        await polling.for_a_while()
        at_first = polling.cloud.polls
        for is_announcing in (False, True):
            polling.is_announcing = is_announcing
            await polling.for_a_while()

    assert (at_first, polling.cloud.polls) == (1, 3)


async def test_it_asks_rarely_while_jobs_are_announced():
    polling = Polling()
    async with polling.running(interval_s=1.0) as poller:
        await until(lambda: polling.cloud.polls == 1)
        announced_pause = poller._pace.succeeded(1000.0) - 1000.0
        polling.is_announcing = False
        pause = poller._pace.succeeded(1000.0) - 1000.0

    assert 0 < pause <= 1
    assert pause < announced_pause <= 20


async def test_it_asks_at_once_when_it_is_told_to():
    polling = Polling()
    async with polling.running() as poller:
        await until(lambda: polling.cloud.polls == 1)
        poller.ask_now()
        await until(lambda: polling.cloud.polls == 2)


async def test_a_cloud_that_is_away_is_left_in_peace():
    polling = Polling()
    polling.cloud.is_away = True
    async with polling.running():
        await polling.for_a_while()
        polling.now += 9
        await polling.for_a_while()
        before = polling.cloud.polls
        polling.now += 9
        await until(lambda: polling.cloud.polls == 2)

    assert before == 1


async def test_it_asks_again_after_a_clock_was_set_back_a_year():
    polling = Polling()
    async with polling.running():
        await polling.for_a_while()
        polling.now -= 365 * 86_400
        await until(lambda: polling.cloud.polls == 2)
