"""What the agent wants of a container engine. Every call is safe to repeat: it brings about a state.

Containers, networks and volumes that the agent did not make are invisible here, and safe from it.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from iotistic.planning.model import Current, Named, Service, ServiceConfig, ServiceKey


class Progress(NamedTuple):
    """How far a download is, in bytes; `total` is 0 while nobody knows."""

    done: int
    total: int


class Change(StrEnum):
    """What happened to a container."""

    STARTED = "started"
    ENDED = "ended"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened in the engine, by whoever; `by_order` when it was told to end it rather than it fell."""

    change: Change
    container_id: str = ""
    key: ServiceKey | None = None
    exit_code: int | None = None
    by_order: bool = False


class LogLine(NamedTuple):
    """A line that a container printed, without its end. `at` in seconds since 1970, as exact as a microsecond."""

    at: float
    text: str
    is_stderr: bool = False


class Engine(Protocol):
    """Runs containers. Raises EngineUnavailable from every call while it is away."""

    name: str
    shares_ports: bool
    """Whether two containers can offer one port of the device at once."""

    async def observe(self) -> Current:
        """Return what there is of ours, and all images."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on; ends, or raises EngineUnavailable, when the engine goes away."""
        ...

    def logs(self, container_id: str, *, since: float = 0.0, follow: bool = True) -> AsyncIterator[LogLine]:
        """Yield what a container printed at `since` or later, the oldest first; lines of one moment keep their order.

        Following goes on with what it prints from now on, and ends when the container ends; a later run of the
        same container is for another call. Lines are cut at 16 KiB (see lines.py). Raises ContainerNotFound,
        StepRefused when this engine keeps no logs of it, and EngineUnavailable, also in the middle.
        """
        ...

    async def fetch(self, image: str, tell: Callable[[Progress], None]) -> None:
        """Get an image. Raises ImageNotFound and ImageUnavailable."""
        ...

    async def create(self, service: Service) -> str:
        """Make a container for a service and return its id; one that was made and never started is replaced.

        Raises StartRefused when it cannot be made.
        """
        ...

    async def start(self, container_id: str) -> None:
        """Start a container that does not run. Raises StartRefused and ContainerNotFound."""
        ...

    async def stop(self, container_id: str, within_s: int) -> None:
        """End its processes, by force when they take longer; a container that is paused goes on for that."""
        ...

    async def remove(self, container_id: str) -> None:
        """Remove a container that has ended."""
        ...

    async def pause(self, container_id: str) -> None:
        """Freeze its processes."""
        ...

    async def unpause(self, container_id: str) -> None:
        """Let its processes go on."""
        ...

    async def update(self, container_id: str, name: str, config: ServiceConfig) -> None:
        """Change name, limits and restart policy while it lives. Raises StepRefused."""
        ...

    async def create_network(self, network: Named) -> None:
        """Make a network."""
        ...

    async def remove_network(self, network: Named) -> None:
        """Remove a network."""
        ...

    async def create_volume(self, volume: Named) -> None:
        """Make a volume."""
        ...

    async def remove_volume(self, volume: Named) -> None:
        """Remove a volume with its content."""
        ...

    async def remove_image(self, image: str) -> None:
        """Remove an image."""
        ...

    async def close(self) -> None:
        """Let go of the engine."""
        ...
