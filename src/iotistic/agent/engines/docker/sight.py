"""What the agent sees of Docker: four lists, whatever the number of containers, and the few that changed.

A list does not say enough of a container to compare it, so each is inspected once, and again when its entry in
the list changed or an event told of it. Without a stream of events nothing is taken as unchanged.
"""

import asyncio
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from iotistic.agent.engines.docker import names
from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.docker.pulling import spellings
from iotistic.agent.engines.docker.reading import Inspected, has_config, read, seconds_of
from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.planning.model import Current, Named, ServiceKey

_GONE = 404


class _NotThere(EngineUnavailable):
    """Docker does not know what was asked for."""


class Sight:
    """Looks at one Docker."""

    def __init__(self, client: DockerClient, scope: str = "") -> None:
        self._client, self._scope = client, scope
        self._known: dict[str, tuple[str, Inspected]] = {}
        self._changes = 0
        self._told = 0
        self.asked: set[str] = set()
        """Images as they were asked for: Docker has names of its own for them."""

    async def observe(self) -> Current:
        """Return everything of ours, and all images."""
        listed, images, networks, volumes = await asyncio.gather(
            self._list("containers", names.APP_ID, all="true"),
            self._get("images/json"),
            self._list("networks", names.MANAGED),
            self._list("volumes", names.MANAGED),
        )
        found = await self._look_at(self._in_scope(listed))
        containers = tuple(one.container for one in found)
        asked = self.asked | {one.config.image for one in containers}
        return Current(
            containers,
            spellings(images, asked),
            frozenset(_networks(self._in_scope(networks))),
            dict(_volumes(self._in_scope(entries(volumes, "Volumes")))),
        )

    async def of_service(self, key: ServiceKey) -> list[Inspected]:
        """Return the containers of one service as they are now."""
        label = f"{names.APP_ID}={key.app_id}", f"{names.SERVICE_ID}={key.service_id}"
        listed = await self._list("containers", *label, all="true")
        found = await asyncio.gather(*(self.inspect(entry["Id"]) for entry in self._in_scope(listed)))
        return [one for one in found if one is not None]

    async def inspect(self, container_id: str) -> Inspected | None:
        """Return a container as it is now; None when it is gone, or not ours."""
        try:
            document = await self._get(f"containers/{container_id}/json")
            image = None if has_config(document) else await self._get(f"images/{document['Image']}/json")
        except _NotThere:
            return None
        return read(document, image)

    @contextmanager
    def being_told(self) -> Generator[None]:
        """Trust, for the while, that a change is told of by `forget`."""
        self._known.clear()
        self._told += 1
        try:
            yield
        finally:
            self._told -= 1

    def forget(self, container_id: str) -> None:
        """Look at a container anew."""
        self._changes += 1
        self._known.pop(container_id, None)

    def _in_scope(self, listed: Iterable[Json]) -> list[Json]:
        """Leave out what other agents on this Docker have."""
        return [entry for entry in listed if names.is_in_scope(part(entry, "Labels"), self._scope)]

    async def _list(self, what: str, *labels: str, **more: str) -> Any:
        query = {"filters": json.dumps({"label": labels}), **more}
        return await self._get(f"{what}/json" if what == "containers" else what, query)

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Ask. A Docker that cannot say how things are is no better than one that is away."""
        try:
            return await self._client.call("GET", path, query=query)
        except Refused as exc:
            if exc.status == _GONE:
                raise _NotThere from exc
            raise EngineUnavailable(f"Docker does not say how things are: {exc.message}") from exc

    async def _look_at(self, listed: Iterable[Json]) -> list[Inspected]:
        """Return containers, inspecting those of which no more is known than before."""
        entries = {str(entry["Id"]): _signature(entry) for entry in listed}
        known = {id_: one for id_, one in self._known.items() if self._told and entries.get(id_) == one[0]}
        unknown = [id_ for id_ in entries if id_ not in known]
        before = self._changes
        found = zip(unknown, await asyncio.gather(*map(self.inspect, unknown)), strict=True)
        seen = {id_: (entries[id_], one) for id_, one in found if one is not None}
        self._known = known | (seen if before == self._changes else {})
        return [one for _, one in (known | seen).values()]


def _signature(entry: Json) -> str:
    """Return what tells that a container changed; its age, in words, does not."""
    return json.dumps({name: value for name, value in entry.items() if name != "Status"}, sort_keys=True)


def _networks(listed: Iterable[Json]) -> Iterator[Named]:
    for entry in listed:
        if (named := names.named_of(entry["Name"], part(entry, "Labels"))) is not None:
            yield named


def _volumes(listed: Iterable[Json]) -> Iterator[tuple[Named, float]]:
    for entry in listed:
        labels = part(entry, "Labels")
        if (named := names.named_of(entry["Name"], labels)) is not None:
            made_at = labels.get(names.MADE_AT)
            yield named, float(made_at) if made_at else seconds_of(entry["CreatedAt"])
