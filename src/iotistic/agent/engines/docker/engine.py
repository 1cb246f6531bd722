"""Docker as an engine.

The service's own container is found under the service's name in its networks. In a hand-over a second one
stands beside it, which nobody is led to before it serves; when the first one is told to end, its name goes
to the second (see handover). If the agent dies in between, or the first one falls by itself, `observe`
shows the second one under a name that is not its service's, and the planner has it updated.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from iotistic.agent.engines.docker import (
    handover,
    happenings,
    making,
    names,
    networking,
    printing,
    pulling,
    removing,
)
from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import part
from iotistic.agent.engines.docker.log_limits import LogKeeping
from iotistic.agent.engines.docker.reaching import DockerReach
from iotistic.agent.engines.docker.reading import Inspected
from iotistic.agent.engines.docker.settings import SOCKET, LogLimits
from iotistic.agent.engines.docker.sight import Sight
from iotistic.agent.engines.errors import ContainerNotFound, EngineUnavailable, StartRefused, StepRefused
from iotistic.agent.engines.port import Change, Event, LogLine, Progress
from iotistic.planning.model import Current, Named, Service, ServiceConfig, Status

_GONE, _IN_THE_WAY = 404, 409
_FOREVER_S = 4000.0
_NAME_WAITS, _NAME_WAIT_S = 20, 0.1
T = TypeVar("T")


class DockerEngine:
    """Containers of the Docker at a socket."""

    name = "docker"
    shares_ports = False

    def __init__(
        self,
        socket: Path = SOCKET,
        keyring: pulling.Keyring = pulling.no_credentials,
        *,
        shared: Callable[[str], Iterable[str]] = lambda _app_id: (),
        scope: str = "",
        log_limits: LogLimits | None = None,
    ) -> None:
        """`shared` names what all containers of an app see of the device, as `folder:/path`, besides their own."""
        self._client = DockerClient(socket)
        self._streams = DockerClient(socket, at_once=0)  # what is followed must not keep calls waiting
        self._sight, self._scope = Sight(self._client, scope), scope
        self._keyring, self._shared = keyring, shared
        self._log_keeping = LogKeeping(self._client, log_limits or LogLimits())
        self.reach = DockerReach(self._client)
        """How probes get at containers."""

    async def observe(self) -> Current:
        """Return what there is of ours, and all images."""
        return await self._sight.observe()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on; the first event says that we listen."""
        ear = happenings.Ear()
        try:
            async with self._client.open("GET", "events", query=happenings.wanted()) as response:
                with self._sight.being_told():
                    yield Event(Change.OTHER)
                    async for said in self._client.lines(response):
                        if (event := ear.hear(said)) is not None:
                            self._sight.forget(event.container_id)
                            yield event
        except Refused as exc:
            raise EngineUnavailable(f"Docker does not say what happens: {exc.message}") from exc

    async def logs(
        self, container_id: str, *, since: float = 0.0, follow: bool = True
    ) -> AsyncIterator[LogLine]:
        """Yield what a container printed."""
        one = await self._inspect(container_id)
        async for line in printing.read_logs(self._streams, one, since=since, follow=follow):
            yield line

    async def fetch(self, image: str, tell: Callable[[Progress], None]) -> None:
        """Get an image. Raises ImageNotFound and ImageUnavailable."""
        await pulling.pull(self._client, image, self._keyring, tell)
        self._sight.asked.add(image)

    async def create(self, service: Service) -> str:
        """Make a container; beside another one of its service it leads nobody yet."""
        beside = False
        for other in await self._sight.of_service(service.key):
            if other.container.status is Status.CREATED:
                await self.remove(other.container.id)
            else:
                beside = True
        name = names.name_of(service)
        query = {"name": names.another_name(name) if beside else name}
        body = making.container_body(service, leads=not beside)
        body["Labels"] |= names.scope_label(self._scope)
        body["HostConfig"] |= await self._log_keeping.config()
        body["HostConfig"]["Binds"] += self._shared(service.key.app_id)
        try:
            made = await _once_free(
                lambda: self._client.call("POST", "containers/create", query=query, body=body)
            )
        except Refused as exc:
            raise StartRefused(f"{service.name} cannot be made: {exc.message}") from exc
        return str(made["Id"])

    async def start(self, container_id: str) -> None:
        """Start a container that does not run. Raises StartRefused and ContainerNotFound."""
        one = await self._inspect(container_id)
        try:
            for network in one.wanted_networks:
                if network not in one.networks:  # Docker of old takes one network when a container is made
                    alias = one.service_name if one.docker_name_is_its_own else ""
                    await handover.be_known(self._client, one, network, alias)
            await self._client.call("POST", f"containers/{container_id}/start")
        except Refused as exc:
            raise StartRefused(f"{one.service_name} cannot be started: {exc.message}") from exc
        finally:
            self._sight.forget(container_id)

    async def stop(self, container_id: str, within_s: int) -> None:
        """End its processes; if another container of its service is to go on, that gets its name before."""
        one = await self._inspect(container_id)
        if one.container.status is Status.PAUSED:
            await self.unpause(container_id)
        if one.leads and (heir := await self._heir_of(one)) is not None:
            await handover.hand_over(self._client, one, heir)
        async with self._refusals(container_id):
            path, query = f"containers/{container_id}/stop", {"t": str(within_s)}
            await self._client.call("POST", path, query=query, within_s=_FOREVER_S)

    async def remove(self, container_id: str) -> None:
        """Remove a container that has ended; one that is gone is fine."""
        one = await self._sight.inspect(container_id)
        try:
            await self._client.call("DELETE", f"containers/{container_id}", query={"v": "true"})
        except Refused as exc:
            if exc.status != _GONE and "already in progress" not in exc.message:
                raise StepRefused(exc.message) from exc
        finally:
            self._sight.forget(container_id)
        if one is not None:
            await removing.remove_nameless(self._client, one.document)

    async def pause(self, container_id: str) -> None:
        """Freeze its processes."""
        await self._bring(container_id, "pause", Status.PAUSED)

    async def unpause(self, container_id: str) -> None:
        """Let its processes go on."""
        await self._bring(container_id, "unpause", Status.RUNNING)

    async def update(self, container_id: str, name: str, config: ServiceConfig) -> None:
        """Give it the service's name, also in its networks, and change limits and restart policy."""
        one = await self._inspect(container_id)
        labels = one.labels
        wanted = names.container_name(labels[names.APP_NAME], name, labels[names.SERVICE_ID])
        body = {"RestartPolicy": {"Name": str(config.restart)}, **making.amounts(config.resources)}
        async with self._refusals(container_id):
            await self._client.call("POST", f"containers/{container_id}/update", body=body)
            for network in one.wanted_networks:
                await handover.be_known(self._client, one, network, name)
            if one.docker_name != wanted:
                await _once_free(lambda: handover.rename(self._client, one, wanted))

    async def create_network(self, network: Named) -> None:
        """Make a network, and write its subnet down: only then can a container keep its address in it."""
        try:
            await networking.make(self._client, network, self._scope)
        except Refused as exc:
            if exc.status != _IN_THE_WAY or network not in (await self.observe()).networks:
                name = names.full_name(network)
                raise StepRefused(f"the network {name} cannot be made: {exc.message}") from exc

    async def remove_network(self, network: Named) -> None:
        """Remove a network."""
        await self._remove("networks", names.full_name(network))

    async def create_volume(self, volume: Named) -> None:
        """Make a volume; the time is written down, since Docker's own counts whole seconds."""
        name = names.full_name(volume)
        labels = names.labels_of(volume, self._scope) | {names.MADE_AT: f"{time.time():.3f}"}
        async with self._refusals(name):
            made = await self._client.call("POST", "volumes/create", body={"Name": name, "Labels": labels})
        if names.MANAGED not in part(made, "Labels"):
            raise StepRefused(f"there is a volume {name} already, and it is not the agent's")

    async def remove_volume(self, volume: Named) -> None:
        """Remove a volume with its content."""
        await self._remove("volumes", names.full_name(volume))

    async def remove_image(self, image: str) -> None:
        """Remove an image; one that somebody else's container uses is theirs from now on."""
        await removing.remove_image(self._client, image)
        self._sight.asked.discard(image)

    async def close(self) -> None:
        """Let go of the socket."""
        await self._client.close()
        await self._streams.close()

    async def _inspect(self, container_id: str) -> Inspected:
        found = await self._sight.inspect(container_id)
        if found is None:
            raise ContainerNotFound(f"there is no container {container_id} of ours")
        return found

    async def _heir_of(self, one: Inspected) -> Inspected | None:
        """Return the youngest other container of the same service that runs."""
        running = [
            other
            for other in await self._sight.of_service(one.container.key)
            if other.container.id != one.container.id and other.container.status is Status.RUNNING
        ]
        return max(running, key=lambda other: other.container.started_at, default=None)

    async def _bring(self, container_id: str, verb: str, state: Status) -> None:
        one = await self._inspect(container_id)
        if one.container.status is not state:
            async with self._refusals(container_id):
                await self._client.call("POST", f"containers/{container_id}/{verb}")

    async def _remove(self, what: str, name: str) -> None:
        """Remove something; what is gone is fine."""
        try:
            await self._client.call("DELETE", f"{what}/{name}")
        except Refused as exc:
            if exc.status != _GONE:
                raise StepRefused(exc.message) from exc

    @asynccontextmanager
    async def _refusals(self, container_id: str) -> AsyncGenerator[None]:
        """Say what a refusal means; what was known of the container is old afterwards."""
        try:
            yield
        except Refused as exc:
            if exc.status == _GONE:
                raise ContainerNotFound(exc.message) from exc
            raise StepRefused(exc.message) from exc
        finally:
            self._sight.forget(container_id)


async def _once_free(call: Callable[[], Awaitable[T]]) -> T:
    """Do what needs a name; a container that is being removed keeps its own for a moment."""
    for _ in range(_NAME_WAITS):
        try:
            return await call()
        except Refused as exc:
            if exc.status != _IN_THE_WAY or "already in use" not in exc.message:
                raise
            await asyncio.sleep(_NAME_WAIT_S)
    return await call()
