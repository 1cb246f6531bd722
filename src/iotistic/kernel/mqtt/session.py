"""One connection of aiomqtt whose publishes tell when the broker refuses them.

aiomqtt waits for the PUBACK but drops its reason code, so a refused message looks like a stored one.
"""

import asyncio
from contextlib import suppress
from typing import Any

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS, Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from iotistic.kernel.mqtt.errors import PublishDenied, SubscriptionDenied
from iotistic.kernel.mqtt.reasons import is_failure, reason_name


class Session(aiomqtt.Client):
    """Publishes and subscriptions raise when the broker refuses; aiomqtt.MqttError when it is away."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._answers: dict[int, asyncio.Future[int]] = {}
        super().__init__(*args, **options)

    async def publish_confirmed(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        within_s: float,
        expiry_s: int | None = None,
    ) -> None:
        """Publish and return once the broker has the message (QoS 1), or the socket (QoS 0).

        Raises PublishDenied with the broker's reason, aiomqtt.MqttError or TimeoutError otherwise.
        """
        properties = None
        if expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # pyright: ignore[reportUnknownVariableType]
            properties.MessageExpiryInterval = expiry_s
        sent = self._client.publish(topic, payload, qos, retain, properties)
        if sent.rc != MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(sent.rc)
        if qos == 0:
            return
        answer = asyncio.get_running_loop().create_future()
        self._answers[sent.mid] = answer
        try:
            await self._first(answer, within_s)
        finally:
            self._answers.pop(sent.mid, None)
        if is_failure(answer.result()):
            raise PublishDenied(topic=topic, reason=reason_name(answer.result()))

    async def subscribe_confirmed(self, topic_filter: str, *, qos: int) -> None:
        """Subscribe. Raises SubscriptionDenied with the broker's reason, or aiomqtt.MqttError."""
        for code in await self.subscribe(topic_filter, qos=qos):
            reason = code.value if isinstance(code, ReasonCode) else code
            if is_failure(reason):
                raise SubscriptionDenied(topic=topic_filter, reason=reason_name(reason))

    async def _first(self, answer: asyncio.Future[int], within_s: float) -> None:
        """Wait for the answer or the end of the connection."""
        done, _ = await asyncio.wait(
            (answer, self._disconnected), timeout=within_s, return_when=asyncio.FIRST_COMPLETED
        )
        if answer in done:
            return
        if done:
            raise aiomqtt.MqttError("the connection ended before the PUBACK")
        raise TimeoutError

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        super()._on_publish(client, userdata, mid, reason_code, properties)
        if (answer := self._answers.get(mid)) is not None:
            with suppress(asyncio.InvalidStateError):
                answer.set_result(reason_code.value)
