"""The roads that reports take to the cloud: MQTT while it is connected, HTTP otherwise."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import structlog

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import CloudRefused, CloudUnavailable, MqttUnsendable
from iotistic.contracts.job_messages import read_answer, update_topic
from iotistic.contracts.jobs import JobStatus
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_CONFLICT = 409
_NEED_A_BEGINNING = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.TIMED_OUT)
_MOST_MESSAGE_BYTES = 256 * 1024
"""Brokers end the connection of whoever sends more than they take; HTTP also packs."""


class JobReports(Protocol):
    """Where reports go."""

    async def report(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        """Return once the report is there, with the status that the cloud has if it says. Raises IotisticError."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """A road that the cloud answers on."""

    def hear(self, topic: str, payload: bytes) -> None:
        """Take an answer of the cloud."""
        ...


class Publish(Protocol):
    """How a message is sent by MQTT."""

    async def __call__(self, topic: str, payload: bytes, purpose: Purpose) -> object:
        """Return once the broker has it. Raises IotisticError, after some time at the latest."""
        ...


class MqttReports:
    """Reports as messages.

    That a broker has a message does not mean that the cloud has it: an end is there once the cloud answers on
    `jobs/<job>/update/accepted`, which `hear` is to get (`JobRunner.hear` passes it on).
    """

    def __init__(self, uuid: str, publish: Publish, *, within_s: float = 15.0) -> None:
        self._uuid, self._publish, self._within_s = uuid, publish, within_s
        self._waiting: tuple[str, asyncio.Future[JobStatus | None]] | None = None

    def hear(self, topic: str, payload: bytes) -> None:
        """Take an answer of the cloud."""
        if self._waiting is None or topic != f"{update_topic(self._uuid, self._waiting[0])}/accepted":
            return
        try:
            answer: object = json.loads(payload)
        except (ValueError, RecursionError):
            answer = None
        if not self._waiting[1].done():
            self._waiting[1].set_result(read_answer(answer))

    async def report(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        """Publish a report; of an end, wait for the cloud's answer. Raises IotisticError, after `within_s` at last.

        One at a time.
        """
        payload = json.dumps(fields, separators=(",", ":")).encode()
        if len(payload) > _MOST_MESSAGE_BYTES:
            raise MqttUnsendable(f"a report of {len(payload)} bytes is too large for a message")
        answer: asyncio.Future[JobStatus | None] = asyncio.get_running_loop().create_future()
        self._waiting = job_id, answer
        try:
            async with asyncio.timeout(self._within_s):
                await self._publish(update_topic(self._uuid, job_id), payload, Purpose.CONTROL)
                return await answer if JobStatus(fields["status"]).is_final else None
        except TimeoutError as exc:
            raise CloudUnavailable(f"neither broker nor cloud took it within {self._within_s:g} s") from exc
        finally:
            self._waiting = None


class Roads:
    """The first road while it is open, the second when it is not or fails."""

    def __init__(self, first: JobReports, second: JobReports, is_open: Callable[[], bool]) -> None:
        self._first, self._second, self._is_open = first, second, is_open

    def hear(self, topic: str, payload: bytes) -> None:
        """Take an answer of the cloud."""
        for road in (self._first, self._second):
            if isinstance(road, Hearing):
                road.hear(topic, payload)

    async def report(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        """Report by whichever road takes it. Raises what the second one raises."""
        if self._is_open():
            try:
                return await self._first.report(job_id, fields)
            except IotisticError as exc:
                log.info("job.report_rerouted", job_id=job_id, code=exc.code, reason=exc.message)
        return await self._report_second(job_id, fields)

    async def _report_second(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        try:
            return await self._second.report(job_id, fields)
        except CloudRefused as exc:
            is_out_of_turn = exc.fields.get("status") == _CONFLICT and fields["status"] in _NEED_A_BEGINNING
            if not is_out_of_turn:
                raise
        # That the job began was told on the first road, and did not get to the cloud yet.
        await self._second.report(job_id, {"status": JobStatus.IN_PROGRESS.value})
        return await self._second.report(job_id, fields)
