"""The roads that reports take to the cloud: MQTT while it is connected, HTTP otherwise."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import MqttUnsendable
from iotistic.contracts.job_messages import update_topic
from iotistic.contracts.jobs import JobStatus
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_MOST_MESSAGE_BYTES = 256 * 1024
"""Brokers end the connection of whoever sends more than they take; HTTP also packs."""


class JobReports(Protocol):
    """Where reports go."""

    async def report(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        """Return once the report is there, with the status that the cloud has if it says. Raises IotisticError."""
        ...


class Publish(Protocol):
    """How a message is sent by MQTT."""

    async def __call__(self, topic: str, payload: bytes, purpose: Purpose) -> object:
        """Return once the broker has it. Raises IotisticError, after some time at the latest."""
        ...


class MqttReports:
    """Reports as messages; what the cloud answers comes by `JobRunner.hear`."""

    def __init__(self, uuid: str, publish: Publish) -> None:
        self._uuid, self._publish = uuid, publish

    async def report(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        """Publish a report. Raises IotisticError."""
        payload = json.dumps(fields, separators=(",", ":")).encode()
        if len(payload) > _MOST_MESSAGE_BYTES:
            raise MqttUnsendable(f"a report of {len(payload)} bytes is too large for a message")
        await self._publish(update_topic(self._uuid, job_id), payload, Purpose.CONTROL)
        return None


class Roads:
    """The first road while it is open, the second when it is not or fails."""

    def __init__(self, first: JobReports, second: JobReports, is_open: Callable[[], bool]) -> None:
        self._first, self._second, self._is_open = first, second, is_open

    async def report(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        """Report by whichever road takes it. Raises what the second one raises."""
        if self._is_open():
            try:
                return await self._first.report(job_id, fields)
            except IotisticError as exc:
                log.info("job.report_rerouted", job_id=job_id, code=exc.code, reason=exc.message)
        return await self._second.report(job_id, fields)
