"""Objects that are there or not: the namespace, domains of apps, networks and volumes."""

from typing import Any

from iotistic.agent.engines.docker.documents import part
from iotistic.agent.engines.errors import StepRefused
from iotistic.agent.engines.k3s import making, names
from iotistic.agent.engines.k3s.client import IN_THE_WAY, NOT_FOUND, KubeClient, Refused
from iotistic.agent.engines.k3s.sight import COLLECTIONS, Sight
from iotistic.planning.model import Named


class Upkeep:
    """Makes and removes what services need besides themselves."""

    def __init__(self, client: KubeClient, sight: Sight, namespace: str) -> None:
        self._client, self._sight, self._namespace = client, sight, namespace
        self._has_namespace = False

    async def be_at_home(self) -> None:
        """See that our namespace is there. Raises Refused."""
        if self._has_namespace:
            return
        try:
            await self._client.get(f"api/v1/namespaces/{self._namespace}")
        except Refused as exc:
            if exc.status != NOT_FOUND:
                raise
            await self._put("api/v1/namespaces", making.namespace(self._namespace))
        self._has_namespace = True

    async def have_domain(self, app_id: str) -> None:
        """See that services of an app find each other. Raises Refused."""
        await self._put(self._sight.path("services"), making.domain(app_id))

    async def make(self, kind: str, named: Named, body: Any) -> None:
        """Make a network or volume; one that is there stays as it is. Raises StepRefused."""
        collection = self._sight.path(COLLECTIONS[kind])
        try:
            await self.be_at_home()
            await self._put(collection, body)
            found = await self._client.get(f"{collection}/{names.name_of(body)}")
        except Refused as exc:
            raise StepRefused(f"the {kind} {named.name} cannot be made: {exc.message}") from exc
        if names.named_of(found) != named:
            raise StepRefused(f"there is a {kind} {names.name_of(body)} already, and it is not the agent's")
        if part(found, "metadata").get("deletionTimestamp"):
            raise StepRefused(f"the {kind} {named.name} of before is still being removed")

    async def remove(self, kind: str, named: Named) -> None:
        """Remove a network or volume that no service uses; what is gone is fine. Raises StepRefused."""
        for one in await self._sight.workloads():
            config = one.container.config
            used = config.networks if kind == "network" else config.volumes
            if one.container.key.app_id == named.app_id and named.name in used:
                raise StepRefused(f"the {kind} {named.name} is in use by {one.container.name}")
        if not await self._sight.is_there(kind, named):
            return
        name = names.full_name(kind, named)
        try:
            await self._client.delete(self._sight.path(COLLECTIONS[kind], name))
        except Refused as exc:
            raise StepRefused(exc.message) from exc

    async def _put(self, collection: str, body: Any) -> None:
        try:
            await self._client.create(collection, body)
        except Refused as exc:
            if exc.status != IN_THE_WAY:
                raise
