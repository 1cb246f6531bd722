"""How orders come and words go: over MQTT while there is a broker, over HTTP otherwise."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import CloudRefused, CloudUnavailable
from iotistic.agent.link.transport import Answer
from iotistic.contracts.agent_updates import status_topic
from iotistic.kernel.errors import IotisticError

_NOT_FOUND = 404
_WITHIN_S = 10.0


class Ask(Protocol):
    """How the cloud is asked as this device: `Cloud.ask`."""

    async def __call__(
        self, method: str, path: str, purpose: Purpose = ..., *, body: object = None
    ) -> Answer:
        """Return the answer. Raises the errors of the link."""
        ...


class Publishing(Protocol):
    """What is needed of a link."""

    @property
    def is_online(self) -> bool:
        """Whether there is a connection."""
        ...

    async def publish(
        self, topic: str, payload: bytes, purpose: Purpose, *, qos: int = 1, within_s: float = ...
    ) -> None:
        """Return once the broker has the message."""
        ...


class CloudRoad:
    """To the cloud that there is; `ask` returns None while there is none."""

    def __init__(self, uuid: Callable[[], str], link: Publishing, ask: Callable[[], Ask | None]) -> None:
        self._uuid, self._link, self._ask = uuid, link, ask

    @property
    def is_announced(self) -> bool:
        """Whether there is a broker that orders come from."""
        return self._link.is_online

    async def order(self) -> object | None:
        """Ask for the order that waits; None for none. Raises the errors of the link."""
        try:
            answer = await self._asking()("GET", f"/device/{self._uuid()}/agent-update", Purpose.CONTROL)
        except CloudRefused as exc:
            if exc.fields.get("status") == _NOT_FOUND:
                return None
            raise
        return answer.document()

    async def tell(self, report: Mapping[str, Any]) -> None:
        """Return once the cloud has it, or the broker for the cloud. Raises the errors of the link."""
        if self._link.is_online:
            payload = json.dumps(dict(report), separators=(",", ":")).encode()
            try:
                topic = status_topic(self._uuid())
                await self._link.publish(topic, payload, Purpose.CONTROL, within_s=_WITHIN_S)
            except IotisticError:
                pass  # the other road
            else:
                return
        path = f"/device/{self._uuid()}/agent-update/status"
        await self._asking()("PATCH", path, Purpose.CONTROL, body=dict(report))

    def _asking(self) -> Ask:
        ask = self._ask()
        if ask is None:
            raise CloudUnavailable("the device belongs to no cloud")
        return ask
