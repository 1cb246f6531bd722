"""A device without containers: what would be there, and how it would change. No I/O; time is told.

images that cannot be had      behaviours["web:2"] = Behaviour(missing=True)
containers that crash          behaviours["web:2"] = Behaviour(ends_after_s=1, exit_code=1)
containers that print          behaviours["web:2"] = Behaviour(says=(LogLine(0.0, "here I am"),))
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from iotistic.agent.engines.errors import (
    ContainerNotFound,
    ImageNotFound,
    StartRefused,
    StepRefused,
)
from iotistic.agent.engines.port import Change, Event, LogLine
from iotistic.planning.model import (
    Container,
    Current,
    Health,
    Named,
    Service,
    ServiceConfig,
    Status,
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What an image does."""

    missing: bool = False
    """No registry has it."""
    refuses_to_start: bool = False
    ends_after_s: float | None = None
    """Ends by itself after so many seconds."""
    exit_code: int = 1
    says: tuple[LogLine, ...] = ()
    """Printed with each start; `at` in seconds after it."""


_WELL = Behaviour()


class World:
    """One simulated device."""

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour] | None = None,
        tell: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self.now = 0.0
        self.images: set[str] = set()
        self.networks: set[Named] = set()
        self.volumes: dict[Named, float] = {}
        self.containers: dict[str, Container] = {}
        # An empty one is filled later: whoever gave it keeps it.
        self._behaviours: Mapping[str, Behaviour] = {} if behaviours is None else behaviours
        self._tell = tell
        self._ids = itertools.count(1)

    def observe(self) -> Current:
        """Return everything as it is."""
        return Current(
            tuple(self.containers.values()),
            frozenset(self.images),
            frozenset(self.networks),
            dict(self.volumes),
        )

    def pass_time(self, now: float) -> None:
        """Let containers end whose time has come."""
        self.now = now
        for one in list(self.containers.values()):
            lasts = self._behaviour(one.config).ends_after_s
            if one.status is Status.RUNNING and lasts is not None and now - one.started_at >= lasts:
                self._end(one, self._behaviour(one.config).exit_code, by_order=False)

    def fetch(self, image: str) -> None:
        """Get an image."""
        if self._behaviours.get(image, _WELL).missing:
            raise ImageNotFound(f"no registry has {image}")
        self.images.add(image)

    def create(self, service: Service) -> str:
        """Make a container."""
        config = service.config
        if config.image not in self.images:
            raise StartRefused(f"the image {config.image} is not there")
        for name in config.networks:
            if Named(service.key.app_id, name) not in self.networks:
                raise StartRefused(f"the network {name} is not there")
        for name in config.volumes:
            self.volumes.setdefault(Named(service.key.app_id, name), self.now)
        for other in [one for one in self._all() if one.key == service.key and one.status is Status.CREATED]:
            del self.containers[other.id]
        container_id = f"sim{next(self._ids):08x}"
        container = Container(container_id, service.key, service.name, config, Status.CREATED)
        self.containers[container_id] = container
        return container_id

    def start(self, container_id: str) -> None:
        """Start a container."""
        one = self._find(container_id)
        if one.status is Status.RUNNING:
            return
        if self._behaviour(one.config).refuses_to_start:
            raise StartRefused(f"{one.config.image} cannot be started")
        for other in self.containers.values():
            if other.is_up and any(
                mine.clashes(port) for port in other.config.ports for mine in one.config.ports
            ):
                raise StartRefused(f"a port of {one.name} is taken by {other.name}")
        health = Health.READY if one.config.probes.readiness else Health.UNKNOWN
        changed = replace(one, status=Status.RUNNING, started_at=self.now, exit_code=None, health=health)
        self._put(changed, Change.STARTED)

    def stop(self, container_id: str) -> None:
        """End a container's processes."""
        one = self._find(container_id)
        if one.is_up:
            self._end(one, 143, by_order=True)

    def remove(self, container_id: str) -> None:
        """Remove a container that does not run; one that is gone is fine."""
        one = self.containers.get(container_id)
        if one is not None and one.is_up:
            raise StepRefused("a container that runs is not removed")
        self.containers.pop(container_id, None)

    def pause(self, container_id: str) -> None:
        """Freeze a container."""
        self._change(container_id, Status.RUNNING, Status.PAUSED)

    def unpause(self, container_id: str) -> None:
        """Let a container go on."""
        self._change(container_id, Status.PAUSED, Status.RUNNING)

    def update(self, container_id: str, name: str, config: ServiceConfig) -> None:
        """Change what can be changed while a container lives."""
        self._put(replace(self._find(container_id), name=name, config=config), Change.OTHER)

    def create_volume(self, volume: Named) -> None:
        """Make a volume; one that is there keeps its age."""
        self.volumes.setdefault(volume, self.now)

    def remove_network(self, network: Named) -> None:
        """Remove a network that nobody is in."""
        if any(Named(one.key.app_id, name) == network for one in self._all() for name in one.config.networks):
            raise StepRefused(f"the network {network.name} is in use")
        self.networks.discard(network)

    def remove_volume(self, volume: Named) -> None:
        """Remove a volume that nobody uses."""
        if any(Named(one.key.app_id, name) == volume for one in self._all() for name in one.config.volumes):
            raise StepRefused(f"the volume {volume.name} is in use")
        self.volumes.pop(volume, None)

    def remove_image(self, image: str) -> None:
        """Remove an image that no container is made of."""
        if any(one.config.image == image for one in self._all()):
            raise StepRefused(f"the image {image} is in use")
        self.images.discard(image)

    def _all(self) -> list[Container]:
        return list(self.containers.values())

    def _behaviour(self, config: ServiceConfig) -> Behaviour:
        return self._behaviours.get(config.image, _WELL)

    def says(self, container_id: str) -> tuple[LogLine, ...]:
        """Return what a container prints with each start. Raises ContainerNotFound."""
        return self._behaviour(self._find(container_id).config).says

    def _find(self, container_id: str) -> Container:
        try:
            return self.containers[container_id]
        except KeyError:
            raise ContainerNotFound(f"there is no container {container_id}") from None

    def _change(self, container_id: str, before: Status, after: Status) -> None:
        one = self._find(container_id)
        if one.status is before:
            self._put(replace(one, status=after), Change.OTHER)
        elif one.status is not after:
            raise StepRefused(f"a container that is {one.status} cannot become {after}")

    def _end(self, one: Container, exit_code: int, *, by_order: bool) -> None:
        self._put(
            replace(one, status=Status.EXITED, exit_code=exit_code, health=Health.UNKNOWN),
            Change.ENDED,
            exit_code=exit_code,
            by_order=by_order,
        )

    def _put(
        self, container: Container, change: Change, *, exit_code: int | None = None, by_order: bool = False
    ) -> None:
        self.containers[container.id] = container
        self._tell(Event(change, container.id, container.key, exit_code, by_order))
