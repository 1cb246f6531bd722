"""One run of faults over one site under load: what is broken, and when."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncGenerator, Callable

from confluent_kafka.admin import AdminClient, TopicMetadata

from benchmarks.fault_account import Account, take_account
from benchmarks.fault_devices import Load
from benchmarks.fault_site import GROUPS, VICTIMS, FaultSite
from benchmarks.fault_watch import Fault, HealingWatch
from benchmarks.installation import Child

_HEALS_WITHIN_S = 120.0
_WARM_WITHIN_S = 60.0
_LEAVES_WITHIN_S = 30.0
_POLL_S = 0.05
_OVERLAPPING = 0.25
_ALONE_S = 0.5  # for which the broker takes messages that nobody fetches
_FEWEST, _MOST = 2, 4  # members of a group during a storm

TOGETHER = "connector, mosquitto"


class FaultsNotHealed(AssertionError):  # noqa: N818 - named like the product's errors
    """Something is missing, or did not come back."""


class FaultRun:
    """Breaks things; made by `under_load`."""

    def __init__(self, site: FaultSite, load: Load, watch: HealingWatch, chance: random.Random) -> None:
        self.site, self.load, self.watch = site, load, watch
        self._chance = chance
        self._frozen: dict[Child, asyncio.Task[None]] = {}
        self._left: list[Child] = []
        self._background: list[asyncio.Task[None]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def under_load(
        cls, site: FaultSite, *, devices: int, rate: float, seed: int, say: Callable[[str], None]
    ) -> AsyncGenerator["FaultRun"]:
        """Have devices publish while the block runs."""
        load = Load(site.devices(devices), rate=rate)
        watch = HealingWatch(site.dsn, load.devices, say)
        run = cls(site, load, watch, random.Random(seed))
        run._background = [asyncio.create_task(load.run()), asyncio.create_task(watch.run())]
        try:
            await run.until(lambda: run._stored_of_all > 0, _WARM_WITHIN_S)
            yield run
        finally:
            await run._end()

    async def kills(self, count: int) -> list[Fault]:
        """Kill so many of `VICTIMS`, each of them at least once if there are enough kills."""
        return [await self._kill(victim) for victim in self._draw(count)]

    async def losses(self, count: int) -> list[Fault]:
        """Kill connector and broker together so many times: what only the broker held is gone, though acknowledged."""
        return [await self._kill_both() for _ in range(count)]

    async def storm(self, count: int) -> list[Fault]:
        """Let members of both groups come and go, so many times."""
        faults = [await self._stir() for _ in range(count)]
        await asyncio.gather(*self._frozen.values())
        for child in self._left:
            await self.until(lambda child=child: child.status is not None, _LEAVES_WITHIN_S)
            # One that is told to leave before it can listen to signals ends by the signal.
            if child.status != 0 and (child.status != -signal.SIGTERM or "stage.started" in child.log_tail()):
                raise FaultsNotHealed(f"{child.name} left with status {child.status}:\n{child.log_tail()}")
        return faults

    async def leaders(self, count: int) -> list[Fault]:
        """Kill the leader of a partition so many times, each time with all copies in sync."""
        return [await self._kill_leader() for _ in range(count)]

    async def account(self) -> Account:
        """Wait until all has healed, end the load, wait until all of it is stored, and compare.

        What does not get there in time stands in the account.
        """
        with contextlib.suppress(FaultsNotHealed):
            await self.until(lambda: not self.watch.open, _HEALS_WITHIN_S)
        self.load.end()
        with contextlib.suppress(FaultsNotHealed):
            await self.until(lambda: not (self.load.unacknowledged or self._behind()), _HEALS_WITHIN_S)
        return await take_account(self.site, self.load)

    async def until(self, seen: Callable[[], object], within_s: float) -> None:
        """Wait for something. Raises FaultsNotHealed with everybody's last words when it does not happen."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not seen():
                    for task in self._background:
                        if task.done():
                            task.result()
                    await asyncio.sleep(_POLL_S)
                return
        told = f"{self.watch.open}\nbehind: {self._behind()}\n{self.site.last_words()}"
        raise FaultsNotHealed(f"did not happen within {within_s} s: {told}")

    @property
    def _stored_of_all(self) -> int:
        return min(self.watch.whole_to.get(device.source, 0) for device in self.load.devices)

    def _behind(self) -> dict[str, tuple[int, int]]:
        """Return devices of which something is not stored: up to where it is, and how many it published."""
        found = {
            d.source: (self.watch.whole_to.get(d.source, 0), len(d.published)) for d in self.load.devices
        }
        return {source: pair for source, pair in found.items() if pair[0] < pair[1]}

    def _draw(self, count: int) -> list[str]:
        once = self._chance.sample(VICTIMS, len(VICTIMS))
        return (once + self._chance.choices(VICTIMS, k=count))[:count]

    async def _kill(self, victim: str) -> Fault:
        fault = self.watch.broken(victim)
        place = self._chance.randrange(len(self.site.members.get(victim, [0])))
        await self.site.kill(victim, place)
        if self._chance.random() < _OVERLAPPING:
            await asyncio.sleep(self._chance.uniform(0, 0.5))
        else:
            await self.until(lambda: fault.flowing_s is not None, _HEALS_WITHIN_S)
            await asyncio.sleep(self._chance.uniform(0, 0.6))  # kills fall at any instant of the work
        return fault

    async def _kill_both(self) -> Fault:
        await self.site.kill("connector")
        await asyncio.sleep(_ALONE_S)
        fault = self.watch.broken(TOGETHER)
        await self.site.kill("mosquitto")
        await self.until(lambda: fault.healed, _HEALS_WITHIN_S)
        return fault

    async def _stir(self) -> Fault:
        kind = self._chance.choice(GROUPS)
        members = [child for child in self.site.members[kind] if child not in self._frozen]
        child = self._chance.choice(members)
        acts = {"kill -9": self._replace, "join": self._join, "leave": self._leave, "freeze": self._freeze}
        if len(members) <= _FEWEST:
            del acts["leave"]
        if len(members) == 1:
            del acts["freeze"]
        if len(members) >= _MOST:
            del acts["join"]
        what = self._chance.choice(sorted(acts))
        fault = self.watch.broken(what)
        acts[what](kind, child)
        await asyncio.sleep(self._chance.uniform(0.2, 2.0))
        return fault

    def _replace(self, kind: str, child: Child) -> None:
        self.site.replace(kind, child)

    def _join(self, kind: str, _child: Child) -> None:
        self.site.join(kind)

    def _leave(self, kind: str, child: Child) -> None:
        self.site.members[kind].remove(child)
        self._left.append(child)
        child.signal(signal.SIGTERM)

    def _freeze(self, _kind: str, child: Child) -> None:
        """Let it be put out of its group, and then go on as if nothing had happened."""
        for_s = self.site.options.session_s + self._chance.uniform(0.5, 2.0)

        async def thaw() -> None:
            await asyncio.sleep(for_s)
            child.signal(signal.SIGCONT)
            del self._frozen[child]

        child.signal(signal.SIGSTOP)
        self._frozen[child] = asyncio.create_task(thaw())

    async def _kill_leader(self) -> Fault:
        admin = AdminClient({"bootstrap.servers": self.site.kafka.servers})
        topic = self._chance.choice(("raw-iot-data", "processed-iot-data"))
        found = await asyncio.to_thread(_topic, admin, topic)
        place = found.partitions[self._chance.randrange(len(found.partitions))].leader - 1
        fault = self.watch.broken("leader")
        self.site.kafka.nodes[place].kill()
        await self.until(lambda: fault.healed, _HEALS_WITHIN_S)
        self.site.kafka.nodes[place].start()
        for name in ("raw-iot-data", "processed-iot-data", "__consumer_offsets"):
            async with asyncio.timeout(_HEALS_WITHIN_S):
                while not _all_in_sync(await asyncio.to_thread(_topic, admin, name)):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        return fault

    async def _end(self) -> None:
        for child in [*self._frozen, *self._left]:
            child.kill()
        for task in [*self._background, *self._frozen.values()]:
            task.cancel()
        await asyncio.gather(*self._background, *self._frozen.values(), return_exceptions=True)
        await asyncio.gather(*(device.client.stop(within_s=1) for device in self.load.devices))


def _topic(admin: AdminClient, name: str) -> TopicMetadata:
    return admin.list_topics(name, timeout=10).topics[name]


def _all_in_sync(topic: TopicMetadata) -> bool:
    return all(len(one.isrs) == len(one.replicas) for one in topic.partitions.values())
