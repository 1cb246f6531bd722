"""The ordinary MQTT client of services, for commands, status and notices; bulk readers have their own.

    async with connect(settings, client_id="pki") as client:
        await client.subscribe("cmnd/#")
        async for message in client.messages():
            ...

It keeps connected: after a loss it comes back with exponential backoff and jitter and subscribes again.
A publish that the loss caught is sent again, so a QoS 1 message may arrive twice and is never reported as
delivered before its PUBACK. Incoming messages are acknowledged as they arrive and wait in memory.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable, SubscriptionDenied
from iotistic.kernel.mqtt.session import Session
from iotistic.kernel.mqtt.settings import MqttSettings

_log = structlog.get_logger()
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 15.0
_KEEPALIVE_S = 30
_INFLIGHT = 1000
_jitter = secrets.SystemRandom()


class MqttClient:
    """A connection that comes back. Made by `connect`."""

    def __init__(self, settings: MqttSettings, *, client_id: str, session_expiry_s: int = 0) -> None:
        self._settings = settings
        self._client_id = client_id
        self._session_expiry_s = session_expiry_s
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._filters: dict[str, int] = {}
        self._arrived: asyncio.Queue[aiomqtt.Message] = asyncio.Queue()

    @property
    def connected(self) -> bool:
        """Whether the broker is connected now, for readiness."""
        return self._session is not None

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        within_s: float = 30,
        expiry_s: int | None = None,
    ) -> None:
        """Return once the broker has acknowledged the message (QoS 1).

        `expiry_s` is how long the broker keeps it for somebody who is away; as long as it likes when unset.
        Waits for a lost connection to come back and sends again, `within_s` seconds altogether. Raises
        PublishDenied when the broker refuses, BrokerUnavailable when the time is over.
        """
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                session = await self._connected(left)
                await session.publish_confirmed(
                    topic, payload, qos=qos, retain=retain, within_s=left, expiry_s=expiry_s
                )
            except TimeoutError:
                break
            except aiomqtt.MqttError:
                await asyncio.sleep(_FIRST_DELAY_S)
            else:
                return
        raise BrokerUnavailable(f"no PUBACK for {topic} within {within_s:g} s", topic=topic)

    async def subscribe(self, topic_filter: str, *, qos: int = 1) -> None:
        """Subscribe now and after every reconnect. Raises SubscriptionDenied."""
        self._filters[topic_filter] = qos
        if self._session is None:
            return
        try:
            await self._session.subscribe_confirmed(topic_filter, qos=qos)
        except aiomqtt.MqttError:
            _log.debug("mqtt.subscription_postponed", topic=topic_filter)

    async def messages(self) -> AsyncIterator[aiomqtt.Message]:
        """Yield messages as they come, across reconnects; ends with the task that iterates."""
        while True:
            yield await self._arrived.get()

    async def run(self, first_result: asyncio.Future[None]) -> None:
        """Keep connected until cancelled; `first_result` hears of the first connection or refusal."""
        failures = 0
        while True:
            try:
                async with self._open() as session:
                    failures = 0
                    await self._serve(session, first_result)
            except aiomqtt.MqttError as exc:
                self._tell_refusal(exc, first_result)
                delay_s = backoff_s(failures)
                failures += 1
                _log.warning("mqtt.connection_lost", client=self._client_id, error=str(exc), delay_s=delay_s)
                await asyncio.sleep(delay_s)

    async def _serve(self, session: Session, first_result: asyncio.Future[None]) -> None:
        try:
            self._session = session
            await self._subscribe_again(session)
            self._up.set()
            _log.debug("mqtt.connected", client=self._client_id)
            if not first_result.done():
                first_result.set_result(None)
            async for message in session.messages:
                self._arrived.put_nowait(message)
        finally:
            self._session = None
            self._up.clear()

    async def _subscribe_again(self, session: Session) -> None:
        for topic_filter, qos in list(self._filters.items()):
            try:
                await session.subscribe_confirmed(topic_filter, qos=qos)
            except SubscriptionDenied as exc:
                _log.error("mqtt.subscription_refused", **exc.as_dict())

    async def _connected(self, within_s: float) -> Session:
        async with asyncio.timeout(within_s):
            while (session := self._session) is None:
                await self._up.wait()
        return session

    def _open(self) -> Session:
        host, port = self._settings.mqtt_address
        properties = Properties(PacketTypes.CONNECT)  # pyright: ignore[reportUnknownVariableType]
        properties.SessionExpiryInterval = self._session_expiry_s
        return Session(
            host,
            port,
            identifier=self._client_id,
            username=self._settings.mqtt_service_username,
            password=self._settings.mqtt_service_password.get_secret_value(),
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=self._session_expiry_s == 0,
            properties=properties,
            keepalive=_KEEPALIVE_S,
            max_inflight_messages=_INFLIGHT,
            tls_context=self._settings.mqtt_tls(),
        )

    @staticmethod
    def _tell_refusal(exc: aiomqtt.MqttError, first_result: asyncio.Future[None]) -> None:
        """Fail the first connection at once when trying again cannot help."""
        code = exc.rc if isinstance(exc, aiomqtt.MqttCodeError) else None
        if isinstance(code, ReasonCode) and not first_result.done():
            first_result.set_exception(BrokerRefused(f"the broker refused the connection: {code}"))


def backoff_s(failures: int) -> float:
    """Return the wait before the next try: doubling up to 15 s, half of it random against herds."""
    longest = min(_FIRST_DELAY_S * 2 ** min(failures, 16), _LONGEST_DELAY_S)
    return longest * _jitter.uniform(0.5, 1.0)


@asynccontextmanager
async def connect(
    settings: MqttSettings, *, client_id: str, session_expiry_s: int = 0, within_s: float = 30
) -> AsyncGenerator[MqttClient]:
    """Open a client and keep it connected inside the block.

    `session_expiry_s` over 0 keeps subscriptions and queued messages at the broker that long while we are
    away. Raises BrokerRefused when user name or password are wrong, BrokerUnavailable when no broker
    answers within `within_s` seconds.
    """
    client = MqttClient(settings, client_id=client_id, session_expiry_s=session_expiry_s)
    first_result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    keeping = asyncio.create_task(client.run(first_result), name=f"mqtt-{client_id}")
    try:
        await _first_connection(settings, first_result, within_s)
        yield client
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _first_connection(
    settings: MqttSettings, first_result: asyncio.Future[None], within_s: float
) -> None:
    try:
        await asyncio.wait_for(first_result, within_s)
    except TimeoutError as exc:
        host, port = settings.mqtt_address
        raise BrokerUnavailable(f"no broker answers at {host}:{port}", host=host, port=port) from exc
