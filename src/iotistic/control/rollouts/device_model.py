"""A device on paper: what each step does to it. Pure; for predictions only."""

import itertools
from dataclasses import replace

from iotistic.planning import steps
from iotistic.planning.model import Container, Current, Health, Service, Status
from iotistic.planning.steps import Action


class DeviceModel:
    """Containers, images, networks, volumes and locks, changed by steps that have ended."""

    def __init__(self, current: Current) -> None:
        self.containers = {one.id: one for one in current.containers}
        self.images = set(current.images)
        self.networks = set(current.networks)
        self.volumes = dict(current.volumes)
        self.held: set[str] = set()
        self.fetched: set[str] = set()
        self._ids = itertools.count(1)

    def current(self) -> Current:
        """Return it as it is now."""
        return Current(
            tuple(self.containers.values()),
            frozenset(self.images),
            frozenset(self.networks),
            dict(self.volumes),
        )

    def ready(self, container_id: str) -> None:
        """Let the readiness probe of a container succeed."""
        one = self.containers.get(container_id)
        if one is not None and one.health is Health.STARTING:
            self.containers[container_id] = replace(one, health=Health.READY)

    def apply(self, step: Action, now: float) -> str | None:
        """Do what a step does; return the container that it started."""
        match step:
            case steps.Start(service, container_id):
                return self._start(service, container_id, now)
            case steps.Fetch(image):
                self.images.add(image)
                self.fetched.add(image)
            case steps.RemoveImage(image):
                self.images.discard(image)
                self.fetched.discard(image)
            case steps.CreateNetwork(network):
                self.networks.add(network)
            case steps.RemoveNetwork(network):
                self.networks.discard(network)
            case steps.CreateVolume(volume):
                self.volumes[volume] = now
            case steps.RemoveVolume(volume):
                self.volumes.pop(volume, None)
            case steps.TakeLock(app_id):
                self.held.add(app_id)
            case steps.ReleaseLock(app_id):
                self.held.discard(app_id)
            case _:
                self._change(step)
        return None

    def _start(self, service: Service, container_id: str | None, now: float) -> str:
        config = service.config
        found = container_id or f"new-{next(self._ids)}"
        health = Health.STARTING if config.probes.readiness else Health.UNKNOWN
        before = self.containers.get(found)
        made = before or Container(found, service.key, service.name, config, Status.CREATED)
        self.containers[found] = replace(
            made, status=Status.RUNNING, started_at=now, health=health, stopped_by_us=False, exit_code=None
        )
        return found

    def _change(self, step: Action) -> None:
        one = self.containers.get(getattr(step, "container_id", ""))
        if one is None:
            return
        match step:
            case steps.Kill() | steps.Remove():
                del self.containers[one.id]
            case steps.Stop():
                self.containers[one.id] = replace(
                    one, status=Status.EXITED, exit_code=143, stopped_by_us=True, health=Health.UNKNOWN
                )
            case steps.Pause():
                self.containers[one.id] = replace(one, status=Status.PAUSED)
            case steps.Unpause():
                self.containers[one.id] = replace(one, status=Status.RUNNING)
            case steps.UpdateMetadata(name=name, config=config):
                self.containers[one.id] = replace(one, name=name, config=config)
            case _:
                pass
