"""Kubernetes as an engine: a container of the planner's is a Deployment with one pod, or none, or such a Job.

It stays the same container while it is stopped, paused and started again: only its pods come and go. In a hand-over
a second one stands beside it; services find whichever is ready.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from iotistic.agent.engines.docker.documents import part
from iotistic.agent.engines.docker.pulling import Keyring, no_credentials
from iotistic.agent.engines.errors import (
    ContainerNotFound,
    ImageNotFound,
    ImageUnavailable,
    StartRefused,
    StepRefused,
)
from iotistic.agent.engines.k3s import happenings, making, names, printing
from iotistic.agent.engines.k3s.access import Access
from iotistic.agent.engines.k3s.client import NOT_FOUND, KubeClient, Refused
from iotistic.agent.engines.k3s.making import KINDS, State
from iotistic.agent.engines.k3s.pulling import Puller
from iotistic.agent.engines.k3s.reading import service_of
from iotistic.agent.engines.k3s.sight import Sight, Workload
from iotistic.agent.engines.k3s.starting import await_end, await_start
from iotistic.agent.engines.k3s.template import Surroundings
from iotistic.agent.engines.k3s.upkeep import Upkeep
from iotistic.agent.engines.k3s.watching import Watcher
from iotistic.agent.engines.port import Event, LogLine, Progress
from iotistic.planning.model import Current, Named, Service, ServiceConfig, Status


class K3sEngine:
    """Deployments and Jobs of the Kubernetes that an access leads to."""

    name = "k3s"
    shares_ports = False

    def __init__(
        self,
        access: Access,
        keyring: Keyring = no_credentials,
        *,
        around: Surroundings | None = None,
        storage_class: str = "local-path",
        volume_size: str = "1Gi",
        shared: Callable[[str], Iterable[str]] = lambda _app_id: (),
    ) -> None:
        """`shared` names what all containers of an app see of the device, as `folder:/path`, besides their own."""
        self._around = around or Surroundings()
        self._client = KubeClient(access)
        self._sight = Sight(self._client, self._around)
        self._puller = Puller(self._client, self._sight, self._around, keyring)
        self._storage_class, self._volume_size, self._shared = storage_class, volume_size, shared
        self._upkeep = Upkeep(self._client, self._sight, self._around.namespace)

    async def observe(self) -> Current:
        """Return what there is of ours, and all images."""
        return await self._sight.observe()

    async def events(self) -> AsyncGenerator[Event]:
        """Yield what happens from now on; the first event says that we listen."""
        pods = Watcher(self._client, self._sight.path("pods"))
        paths = [kind.path(self._around.namespace) for kind in KINDS]
        others = [
            Watcher(self._client, path) for path in (*paths, self._sight.path("persistentvolumeclaims"))
        ]
        async with aclosing(happenings.listen(pods, others)) as events:
            async for event in events:
                yield event

    async def logs(
        self, container_id: str, *, since: float = 0.0, follow: bool = True
    ) -> AsyncGenerator[LogLine]:
        """Yield what its last pod printed; nothing is said to be of stderr."""
        one = await self._find(container_id)
        if (pod := printing.speaking(one.pods)) is None:
            return
        path = self._sight.path("pods", pod.name)
        async with aclosing(printing.read_logs(self._client, path, since=since, follow=follow)) as lines:
            async for line in lines:
                yield line

    async def fetch(self, image: str, tell: Callable[[Progress], None]) -> None:
        """Get an image onto the node. Raises ImageNotFound and ImageUnavailable."""
        try:
            await self._upkeep.be_at_home()
            await self._puller.pull(image, tell)
        except Refused as exc:
            raise ImageUnavailable(f"{image}: {exc.message}") from exc
        self._sight.fetched.add(image)
        self._sight.given_up.discard(image)

    async def create(self, service: Service) -> str:
        """Make a Deployment or Job without pods. Raises StartRefused."""
        for other in await self._sight.of_service(service.key):
            if other.container.status is Status.CREATED:
                await self.remove(other.container.id)
        try:
            await self._upkeep.be_at_home()
            await self._refuse_what_lacks(service)
            await self._upkeep.have_domain(service.key.app_id)
            secret = await self._puller.secret_for(service.config.image)
            container_id = names.workload_name(service)
            shared = list(self._shared(service.key.app_id))
            body = making.workload(service, container_id, self._around, secret, shared)
            await self._client.create(making.kind_for(service.config).path(self._around.namespace), body)
        except Refused as exc:
            raise StartRefused(f"{service.name} cannot be made: {exc.message}") from exc
        return container_id

    async def start(self, container_id: str) -> None:
        """Let it have its pod, and see that this one runs. Raises StartRefused and ContainerNotFound."""
        one = await self._find(container_id)
        if one.container.status is Status.RUNNING:
            return
        await self._refuse_taken_ports(one)
        before = str(names.annotations(one.document).get(names.STATE, State.STOPPED))
        try:
            if one.kind is making.JOB and one.container.status is Status.EXITED:
                await self._make_anew(one)
            await self._tell(one, State.RUNNING)
            await await_start(self._sight, container_id)
        except (StartRefused, ImageUnavailable, ImageNotFound) as exc:
            await self._tell(one, State.STOPPED if before == State.RUNNING else before)
            raise StartRefused(f"{one.container.name} cannot be started: {exc.message}") from exc
        except Refused as exc:
            raise StartRefused(f"{one.container.name} cannot be started: {exc.message}") from exc

    async def stop(self, container_id: str, within_s: int) -> None:
        """Take its pod away, and wait until it has ended."""
        one = await self._find(container_id)
        await self._tell(one, State.STOPPED)
        await self._end(one, within_s)

    async def remove(self, container_id: str) -> None:
        """Remove a container that has ended; one that is gone is fine."""
        one = await self._sight.find(container_id)
        if one is None:
            return
        if one.container.is_up:
            raise StepRefused("a container that runs is not removed")
        try:
            await self._client.delete(self._path(one), propagationPolicy="Background")
        except Refused as exc:
            raise StepRefused(exc.message) from exc

    async def pause(self, container_id: str) -> None:
        """Take its pod away: Kubernetes cannot freeze. What it has in memory is lost."""
        one = await self._find(container_id)
        if one.container.status is Status.PAUSED:
            return
        if not one.container.is_up:
            raise StepRefused(f"a container that is {one.container.status} cannot be paused")
        await self._tell(one, State.PAUSED)
        await self._end(one, one.container.config.stop_timeout_s)

    async def unpause(self, container_id: str) -> None:
        """Let it have its pod again."""
        one = await self._find(container_id)
        if one.container.status not in (Status.PAUSED, Status.RUNNING, Status.RESTARTING):
            raise StepRefused(f"a container that is {one.container.status} is not paused")
        await self.start(container_id)

    async def update(self, container_id: str, name: str, config: ServiceConfig) -> None:
        """Change its limits, probes and name; Kubernetes brings a pod with them up before the one before ends."""
        one = await self._find(container_id)
        was = service_of(one.document)
        if was is None:
            raise ContainerNotFound(f"{container_id} is not ours any more")
        if making.kind_for(config) is not one.kind:
            raise StepRefused(f"restart {config.restart} needs another container")
        wanted = Service(was.key, name, config, app_name=was.app_name)
        secret = await self._puller.secret_for(config.image)
        shared = list(self._shared(was.key.app_id))
        made = making.workload(wanted, container_id, self._around, secret, shared)
        try:
            await self._client.patch(self._path(one), making.changes(made))
        except Refused as exc:
            raise _meant(exc) from exc

    async def create_network(self, network: Named) -> None:
        """Make what stands for a network."""
        await self._upkeep.make("network", network, making.network(network))

    async def remove_network(self, network: Named) -> None:
        """Remove what stands for a network."""
        await self._upkeep.remove("network", network)

    async def create_volume(self, volume: Named) -> None:
        """Make a claim of a volume."""
        body = making.volume(volume, self._storage_class, self._volume_size)
        await self._upkeep.make("volume", volume, body)

    async def remove_volume(self, volume: Named) -> None:
        """Remove a claim with its content."""
        await self._upkeep.remove("volume", volume)

    async def remove_image(self, image: str) -> None:
        """Leave an image to the kubelet, who removes what nothing uses when the disk fills up."""
        if any(one.container.config.image == image for one in await self._sight.workloads()):
            raise StepRefused(f"the image {image} is in use")
        self._sight.fetched.discard(image)
        self._sight.given_up.add(image)

    async def close(self) -> None:
        """Let go of Kubernetes."""
        await self._client.close()

    async def _find(self, container_id: str) -> Workload:
        found = await self._sight.find(container_id)
        if found is None or (found.container.status is Status.REMOVING and _is_deleted(found)):
            raise ContainerNotFound(f"there is no container {container_id} of ours")
        return found

    def _path(self, one: Workload) -> str:
        return one.kind.path(self._around.namespace, one.container.id)

    async def _tell(self, one: Workload, state: str) -> None:
        """Have it run or not. Raises ContainerNotFound."""
        try:
            await self._client.patch(self._path(one), making.told(one.kind, state))
        except Refused as exc:
            raise _meant(exc) from exc

    async def _refuse_what_lacks(self, service: Service) -> None:
        """Raise StartRefused for an image, network or volume that is not there: its pod would wait for ever."""
        images = (await self._sight.observe()).images
        if service.config.image not in images:
            raise StartRefused(f"the image {service.config.image} is not there")
        for kind, wanted in (("network", service.config.networks), ("volume", service.config.volumes)):
            for name in sorted(wanted):
                if not await self._sight.is_there(kind, Named(service.key.app_id, name)):
                    raise StartRefused(f"the {kind} {name} is not there")

    async def _refuse_taken_ports(self, one: Workload) -> None:
        """Raise StartRefused for a port of another container that runs; its pod would wait for ever."""
        for other in await self._sight.workloads():
            if other.container.id == one.container.id or not other.container.is_up:
                continue
            if other.container.status is Status.PAUSED:
                continue
            theirs = other.container.config.ports
            if any(mine.clashes(port) for mine in one.container.config.ports for port in theirs):
                raise StartRefused(f"a port of {one.container.name} is taken by {other.container.name}")

    async def _end(self, one: Workload, within_s: int) -> None:
        """Wait until its pods have ended; the time they have is their own, unless it is to be shorter."""
        if within_s < one.container.config.stop_timeout_s:
            query = {"labelSelector": names.selector(container=one.container.id)}
            await self._client.delete(self._sight.path("pods"), query, gracePeriodSeconds=within_s)
        await await_end(self._sight, one.container.id)

    async def _make_anew(self, one: Workload) -> None:
        """Make a Job again that has ended: Kubernetes runs none twice. It keeps its name, and is held."""
        body = making.again(one.document)
        await self._client.delete(self._path(one), propagationPolicy="Background")
        await await_end(self._sight, one.container.id)
        await self._client.create(one.kind.path(self._around.namespace), body)


def _is_deleted(one: Workload) -> bool:
    return bool(part(one.document, "metadata").get("deletionTimestamp"))


def _meant(exc: Refused) -> ContainerNotFound | StepRefused:
    return ContainerNotFound(exc.message) if exc.status == NOT_FOUND else StepRefused(exc.message)
