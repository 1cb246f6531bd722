"""Reports over MQTT while there is a broker that takes them, over HTTP otherwise.

A report is there once the broker has it for somebody: a broker without a subscriber throws it away, and says so.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import MqttPublishRefused, MqttUnheard, MqttUnsendable
from iotistic.agent.link.refusals import Refusals
from iotistic.agent.link.telling import ReportSink
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_WITHIN_S = 10.0
_MIDDLE = 0.5
_SAVED_WITHIN_S = 30.0
"""A broker that is killed forgets what came since it saved last: ours does every 10 s (ADR 0003)."""


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


class MqttReports:
    """A ReportSink over MQTT; `otherwise` is the one over HTTP. `clock` is monotonic."""

    def __init__(
        self,
        link: Publishing,
        otherwise: ReportSink,
        uuid: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        within_s: float = _WITHIN_S,
    ) -> None:
        self._link, self._otherwise, self._uuid = link, otherwise, uuid
        self._clock, self._within_s = clock, within_s
        self._topic = f"iot/device/{uuid}/state"
        self._refusals = Refusals()
        self._published_at: float | None = None

    def may_be_lost(self) -> bool:
        """Say whether a broker that ended now may have forgotten a report that it took."""
        return self._published_at is not None and self._clock() - self._published_at < _SAVED_WITHIN_S

    async def report(self, fields: Mapping[str, Any], purpose: Purpose = Purpose.CONTROL) -> None:
        """Return once the report is there, on one road or the other. Raises what HTTP raises."""
        if not await self._published(fields, purpose):
            await self._otherwise.report(fields, purpose)

    async def _published(self, fields: Mapping[str, Any], purpose: Purpose) -> bool:
        if not self._link.is_online or not self._refusals.may_send(self._topic, self._clock()):
            return False
        payload = json.dumps({self._uuid: dict(fields)}, separators=(",", ":")).encode()
        try:
            await self._link.publish(self._topic, payload, purpose, within_s=self._within_s)
        except (MqttPublishRefused, MqttUnheard, MqttUnsendable) as exc:
            if self._refusals.refused(self._topic, self._clock(), _MIDDLE):
                log.warning("report.refused_by_broker", code=exc.code, reason=exc.message)
            return False
        except IotisticError as exc:
            log.info("report.not_published", code=exc.code)
            return False
        self._refusals.accepted(self._topic)
        self._published_at = self._clock()
        return True
