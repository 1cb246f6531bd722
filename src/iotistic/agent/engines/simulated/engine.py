"""The simulated device behind the interface of engines: takes time, and fails as often as it is told to."""

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from dataclasses import dataclass

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.port import Event, LogLine, Progress
from iotistic.agent.engines.simulated.saying import Sayings
from iotistic.agent.engines.simulated.world import Behaviour, World
from iotistic.planning.model import Current, Named, Service, ServiceConfig, Status

_PARTS = 4


@dataclass(frozen=True, slots=True)
class Manner:
    """How the simulated engine works: seconds for each call and each download, and a chance of failure."""

    call_s: float = 0.0
    fetch_s: float = 0.0
    pace: float = 1.0
    """How many times as long all of it takes on this device."""
    jitter: float = 0.0
    """How much longer or shorter a call may take than the one before: its standard deviation, of the time it takes."""
    failing: float = 0.0
    seed: int = 1
    says_every_s: float = 60.0
    """Seconds from one line of a container to its next, about; 0 for silence."""


class SimulatedEngine:
    """An engine without containers."""

    name = "simulated"
    shares_ports = False

    def __init__(
        self,
        clock: Callable[[], float],
        manner: Manner | None = None,
        behaviours: Mapping[str, Behaviour] | None = None,
    ) -> None:
        self._clock, self._manner = clock, manner or Manner()
        self._chance = random.Random(self._manner.seed)  # noqa: S311  a simulator is to repeat itself
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._sayings = Sayings(self._manner.seed, self._manner.says_every_s)
        self.world = World(behaviours, self._tell)

    async def observe(self) -> Current:
        """Return what there is."""
        self.world.pass_time(self._clock())
        return self.world.observe()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on."""
        with self._listening() as heard:
            while True:
                yield await heard.get()

    async def logs(
        self, container_id: str, *, since: float = 0.0, follow: bool = True
    ) -> AsyncIterator[LogLine]:
        """Yield what a container printed."""
        says, name = self.world.says(container_id), self.world.containers[container_id].name
        with self._listening() as heard:
            while True:
                self.world.pass_time(self._clock())
                goes_on = follow and self._is_up(container_id)
                until = math.nextafter(self.world.now, math.inf)
                for line in self._sayings.lines(container_id, name, says, since, until):
                    yield line
                if not goes_on:
                    return
                since = max(since, until)
                await self._rest(self._sayings.next_at(container_id, says, since), heard)

    async def fetch(self, image: str, tell: Callable[[Progress], None]) -> None:
        """Get an image, in a few parts."""
        for part in range(_PARTS):
            tell(Progress(part, _PARTS))
            await asyncio.sleep(self._takes(self._manner.fetch_s / _PARTS))
        await self._pass()
        self.world.fetch(image)

    async def create(self, service: Service) -> str:
        """Make a container."""
        await self._pass()
        return self.world.create(service)

    async def start(self, container_id: str) -> None:
        """Start a container."""
        await self._pass()
        self.world.start(container_id)

    async def stop(self, container_id: str, within_s: int) -> None:  # noqa: ARG002  nothing here takes longer
        """End a container's processes."""
        await self._pass()
        self.world.stop(container_id)

    async def remove(self, container_id: str) -> None:
        """Remove a container."""
        await self._pass()
        self.world.remove(container_id)
        self._sayings.forget(container_id)

    async def pause(self, container_id: str) -> None:
        """Freeze a container."""
        await self._pass()
        self.world.pause(container_id)

    async def unpause(self, container_id: str) -> None:
        """Let a container go on."""
        await self._pass()
        self.world.unpause(container_id)

    async def update(self, container_id: str, name: str, config: ServiceConfig) -> None:
        """Change a living container."""
        await self._pass()
        self.world.update(container_id, name, config)

    async def create_network(self, network: Named) -> None:
        """Make a network."""
        await self._pass()
        self.world.networks.add(network)

    async def remove_network(self, network: Named) -> None:
        """Remove a network."""
        await self._pass()
        self.world.remove_network(network)

    async def create_volume(self, volume: Named) -> None:
        """Make a volume."""
        await self._pass()
        self.world.create_volume(volume)

    async def remove_volume(self, volume: Named) -> None:
        """Remove a volume."""
        await self._pass()
        self.world.remove_volume(volume)

    async def remove_image(self, image: str) -> None:
        """Remove an image."""
        await self._pass()
        self.world.remove_image(image)

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def _pass(self) -> None:
        """Let the time pass that a call takes; sometimes it fails."""
        await asyncio.sleep(self._takes(self._manner.call_s))
        self.world.pass_time(self._clock())
        if self._manner.failing and self._chance.random() < self._manner.failing:
            raise EngineUnavailable("the simulated engine fails now and then")

    def _takes(self, seconds: float) -> float:
        manner = self._manner
        varied = self._chance.gauss(1.0, manner.jitter) if manner.jitter else 1.0
        return seconds * manner.pace * max(varied, 0.0)

    @contextlib.contextmanager
    def _listening(self) -> Generator[asyncio.Queue[Event]]:
        heard: asyncio.Queue[Event] = asyncio.Queue()
        self._listeners.add(heard)
        try:
            yield heard
        finally:
            self._listeners.discard(heard)

    async def _rest(self, until: float, heard: asyncio.Queue[Event]) -> None:
        """Wait for a moment, or until something happens; more of what happened counts as the same."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if until == math.inf else max(until - self._clock(), 0.0)):
                await heard.get()
        while not heard.empty():
            heard.get_nowait()

    def _is_up(self, container_id: str) -> bool:
        one = self.world.containers.get(container_id)
        return one is not None and one.is_up

    def _tell(self, event: Event) -> None:
        one = self.world.containers.get(event.container_id)
        runs = one is not None and one.status is Status.RUNNING
        self._sayings.note(event.container_id, self.world.now, runs=runs)
        for heard in self._listeners:
            heard.put_nowait(event)
