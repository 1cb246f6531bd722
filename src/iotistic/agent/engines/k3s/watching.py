"""A list that is followed: what there is, and each change of it, over all that watches of Kubernetes do.

    list -> watch from its version -> ... the server ends it after minutes: watch again from the last version
                                      the version is too old (410), or makes no sense: list again
                                      nothing comes for long: watch again, the connection may be dead
                                      the connection breaks: EngineUnavailable, whoever listens begins anew

Bookmarks move the version on while nothing happens, so that it does not become too old.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp

from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.client import GONE, KubeClient, Refused

WATCH_FOR_S = 280
_SILENT_FOR_S = 310.0


class What(StrEnum):
    """What a word about a list is."""

    LISTED = "listed"
    """This is all there is; what was known besides is gone."""
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True)
class Word:
    """A word about a list: all of its objects, or one."""

    what: What
    documents: list[Json]


class _TooOld(Exception):  # noqa: N818  never leaves this module
    """The version to watch from is not known any more."""


class Watcher:
    """Follows one list."""

    def __init__(
        self,
        client: KubeClient,
        path: str,
        *,
        watch_for_s: int = WATCH_FOR_S,
        silent_for_s: float = _SILENT_FOR_S,
    ) -> None:
        self._client, self._path = client, path
        self._watch_for_s, self._silent_for_s = watch_for_s, silent_for_s
        self._version = ""

    async def follow(self) -> AsyncGenerator[Word]:
        """Yield all there is, then what changes. Raises EngineUnavailable."""
        try:
            while True:
                if not self._version:
                    yield await self._list()
                try:
                    async with aclosing(self._watch()) as words:
                        async for word in words:
                            yield word
                except _TooOld:
                    self._version = ""
        except Refused as exc:
            raise EngineUnavailable(f"Kubernetes refuses to tell what happens: {exc.message}") from exc

    async def _list(self) -> Word:
        answer = await self._client.get(self._path, self._query())
        self._version = str(part(answer, "metadata").get("resourceVersion") or "")
        if not self._version:
            raise EngineUnavailable("Kubernetes gives no version of a list")
        return Word(What.LISTED, entries(answer, "items"))

    async def _watch(self) -> AsyncGenerator[Word]:
        query = self._query() | {
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._watch_for_s),
        }
        try:
            async with self._client.stream(self._path, query, silent_for_s=self._silent_for_s) as response:
                async for line in self._client.lines(response):
                    if (word := self._hear(line)) is not None:
                        yield word
        except aiohttp.SocketTimeoutError:
            return
        except Refused as exc:
            if exc.status == GONE:
                raise _TooOld from exc
            raise

    def _hear(self, line: bytes) -> Word | None:
        """Return what a line says. Raises _TooOld, and EngineUnavailable for what is no event."""
        if not line.strip():
            return None
        try:
            said: Any = json.loads(line)
            kind, document = str(said["type"]), said["object"]
        except (ValueError, KeyError, TypeError) as exc:
            raise EngineUnavailable("Kubernetes tells something that is not understood") from exc
        if kind == "ERROR":
            if document.get("code") == GONE:
                raise _TooOld
            raise EngineUnavailable(f"Kubernetes tells no more: {document.get('message') or kind}")
        self._version = str(part(document, "metadata").get("resourceVersion") or self._version)
        if kind == "BOOKMARK":
            return None
        return Word(What.DELETED if kind == "DELETED" else What.CHANGED, [document])

    def _query(self) -> dict[str, str]:
        return {"labelSelector": names.selector()}
