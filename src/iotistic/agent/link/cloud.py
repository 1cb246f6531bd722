"""The HTTP face of the cloud, as a device sees it.

    GET   /device/<uuid>/state     the target, or 304 when the device has it already
    PATCH /device/state            what changed on the device

Whatever goes wrong is one of four errors; nothing is tried again here, since whoever calls knows how urgent
it is.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from iotistic.agent.link.budget import Budget, Purpose
from iotistic.agent.link.errors import CloudDenied, CloudUnintelligible
from iotistic.agent.link.transport import Answer, CloudAddress, CloudTransport

_NOT_MODIFIED, _UNAUTHORIZED = 304, 401


class TargetAnswer(NamedTuple):
    """A target as the cloud has it; `document` is None when the device has it already."""

    document: Mapping[str, Any] | None
    etag: str


class Cloud:
    """Talks for one device.

    `api_key` is asked for with each request: it may be renewed at any time. `key_refused` hears each key that
    the cloud does not know (401).
    """

    def __init__(
        self,
        address: CloudAddress,
        uuid: str,
        api_key: Callable[[], str],
        budget: Budget | None = None,
        *,
        key_refused: Callable[[str], None] | None = None,
    ) -> None:
        self.transport = CloudTransport(address, budget)
        self._uuid, self._api_key, self._key_refused = uuid, api_key, key_refused

    @property
    def budget(self) -> Budget:
        """The bytes that went both ways."""
        return self.transport.budget

    async def target(self, etag: str) -> TargetAnswer:
        """Ask for the target. Raises the errors of this room."""
        headers = {"If-None-Match": etag} if etag else {}
        answer = await self.ask("GET", f"/device/{self._uuid}/state", headers=headers)
        if answer.status == _NOT_MODIFIED:
            return TargetAnswer(None, etag)
        state = answer.document().get(self._uuid)
        if not isinstance(state, dict):
            raise CloudUnintelligible(f"the answer says nothing about the device {self._uuid}")
        return TargetAnswer(cast("dict[str, Any]", state), answer.headers.get("ETag", ""))

    async def report(self, fields: Mapping[str, Any], purpose: Purpose = Purpose.CONTROL) -> None:
        """Tell what changed; returns once the cloud has it. Raises the errors of this room."""
        await self.ask("PATCH", "/device/state", purpose, body={self._uuid: dict(fields)})

    async def ask(
        self,
        method: str,
        path: str,
        purpose: Purpose = Purpose.CONTROL,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask anything as this device; `body` is sent as JSON, bytes as they are. Raises the errors of this room."""
        key = self._api_key()
        named = {"X-Device-API-Key": key, **(headers or {})}
        try:
            return await self.transport.ask(method, path, purpose, body=body, headers=named)
        except CloudDenied as exc:
            if self._key_refused is not None and exc.fields.get("status") == _UNAUTHORIZED:
                self._key_refused(key)
            raise

    async def close(self) -> None:
        """End connections."""
        await self.transport.close()
