"""Everything of ours in one Kubernetes: six lists, whatever the number of services.

Which images there are is said by nodes, who name the 50 largest and tell of new ones some seconds late. So what was
fetched by us counts as there from then on; what was given up is not shown until it is fetched again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.docker.pulling import spellings
from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.client import NOT_FOUND, KubeClient, Refused
from iotistic.agent.engines.k3s.making import KINDS, Kind
from iotistic.agent.engines.k3s.reading import Pod, read, seconds_of
from iotistic.agent.engines.k3s.template import Surroundings
from iotistic.planning.model import Container, Current, Named, ServiceKey


@dataclass(frozen=True)
class Workload:
    """A Deployment or Job of ours with its pods, and as the planner sees it."""

    kind: Kind
    document: Json
    pods: list[Pod]
    container: Container


class Sight:
    """Looks at one Kubernetes."""

    def __init__(self, client: KubeClient, around: Surroundings) -> None:
        self._client, self._around = client, around
        self.fetched: set[str] = set()
        """Images that we fetched since we began."""
        self.given_up: set[str] = set()
        """Images that are not to be counted on any more."""

    async def observe(self) -> Current:
        """Return everything of ours, and all images. Raises EngineUnavailable."""
        try:
            workloads, networks, volumes, images = await asyncio.gather(
                self.workloads(), self._list_of("configmaps", "network"), self._claims(), self._images()
            )
        except Refused as exc:  # rights that are missing are not the fault of any step
            raise EngineUnavailable(f"Kubernetes refuses to show what there is: {exc.message}") from exc
        containers = tuple(one.container for one in workloads)
        asked = self.fetched | {one.config.image for one in containers}
        there = spellings([{"RepoTags": images}], asked)
        return Current(
            containers,
            frozenset((there | self.fetched) - self.given_up),
            frozenset(named for one in networks if (named := names.named_of(one)) is not None),
            volumes,
        )

    async def workloads(self, **labels: str) -> list[Workload]:
        """Return Deployments and Jobs, all of them or those with some labels."""
        query = {"labelSelector": names.selector(**labels)}
        namespace = self._around.namespace
        *listed, listed_pods = await asyncio.gather(
            *(self._client.get(kind.path(namespace), query) for kind in KINDS),
            self._client.get(self.path("pods"), query),
        )
        pods: dict[str, list[Pod]] = defaultdict(list)
        for pod in map(Pod, entries(listed_pods, "items")):
            pods[pod.container_id].append(pod)
        return [
            one
            for kind, answer in zip(KINDS, listed, strict=True)
            for document in entries(answer, "items")
            if (one := _workload(kind, document, pods[names.name_of(document)])) is not None
        ]

    async def of_service(self, key: ServiceKey) -> list[Workload]:
        """Return the workloads of one service."""
        labels = {"app_id": names.label_value(key.app_id), "service_id": names.label_value(key.service_id)}
        return [one for one in await self.workloads(**labels) if one.container.key == key]

    async def find(self, container_id: str) -> Workload | None:
        """Return a workload of ours with its pods, None when it is gone."""
        found = await self.workloads(container=container_id) if names.is_label(container_id) else []
        return next((one for one in found if one.container.id == container_id), None)

    async def is_there(self, kind: str, named: Named) -> bool:
        """Say whether a network or volume of ours is there."""
        try:
            document = await self._client.get(self.path(COLLECTIONS[kind], names.full_name(kind, named)))
        except Refused as exc:
            if exc.status == NOT_FOUND:
                return False
            raise
        return names.named_of(document) == named and not part(document, "metadata").get("deletionTimestamp")

    def path(self, collection: str, name: str = "") -> str:
        """Return where an object of the core group is, or all of a namespace."""
        return f"api/v1/namespaces/{self._around.namespace}/{collection}{'/' if name else ''}{name}"

    async def _list_of(self, collection: str, kind: str) -> list[Json]:
        answer = await self._client.get(self.path(collection), {"labelSelector": names.selector(kind=kind)})
        return entries(answer, "items")

    async def _claims(self) -> dict[Named, float]:
        return dict(_volumes(await self._list_of("persistentvolumeclaims", "volume")))

    async def _images(self) -> list[str]:
        """Return what is on our node; where pods may run on several, what is on each."""
        name = self._around.node_name
        path = f"api/v1/nodes/{name}" if name else "api/v1/nodes"
        answer = await self._client.get(path)
        nodes: list[Any] = [answer] if name else entries(answer, "items")
        found = [
            {str(text) for one in entries(part(node, "status"), "images") for text in entries(one, "names")}
            for node in nodes
        ]
        return sorted(set[str].intersection(*found)) if found else []


COLLECTIONS = {"network": "configmaps", "volume": "persistentvolumeclaims"}


def _workload(kind: Kind, document: Json, pods: list[Pod]) -> Workload | None:
    container = read(kind, document, pods)
    return None if container is None else Workload(kind, document, pods, container)


def _volumes(listed: list[Json]) -> Iterator[tuple[Named, float]]:
    for document in listed:
        named = names.named_of(document)
        if named is None or part(document, "metadata").get("deletionTimestamp"):
            continue
        made_at = names.annotations(document).get(names.MADE_AT)
        yield named, float(made_at) if made_at else seconds_of(str(document["metadata"]["creationTimestamp"]))
