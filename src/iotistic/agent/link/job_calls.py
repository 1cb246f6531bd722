"""The cloud's routes for jobs, as a device uses them.

GET   /devices/<uuid>/jobs/next               the next job; 404 says that there is none
PATCH /devices/<uuid>/jobs/<job>/status       how a job stands
"""

from collections.abc import Mapping
from typing import Any, Protocol

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.errors import CloudRefused, CloudUnintelligible
from iotistic.agent.link.transport import Answer
from iotistic.contracts.job_messages import read_answer
from iotistic.contracts.jobs import JobStatus

_NO_CONTENT, _NOT_FOUND = 204, 404


class Ask(Protocol):
    """How the cloud is asked as this device: `Cloud.ask`."""

    async def __call__(
        self, method: str, path: str, purpose: Purpose = ..., *, body: object = None
    ) -> Answer:
        """Return the answer. Raises the errors of this room."""
        ...


class JobCalls:
    """Asks for jobs and reports on them, for one device."""

    def __init__(self, uuid: str, ask: Ask) -> None:
        self._uuid, self._ask = uuid, ask

    async def next_job(self) -> object | None:
        """Return the next job as it is written; None when there is none. Raises the errors of this room."""
        try:
            answer = await self._ask("GET", f"/devices/{self._uuid}/jobs/next", Purpose.CONTROL)
        except CloudRefused as exc:
            if exc.fields.get("status") == _NOT_FOUND:
                return None
            raise
        return None if answer.status == _NO_CONTENT or not answer.content else answer.document()

    async def report(self, job_id: str, fields: Mapping[str, Any]) -> JobStatus | None:
        """Tell how a job stands; return the status that the cloud has, if it says. Raises the errors of this room."""
        path = f"/devices/{self._uuid}/jobs/{job_id}/status"
        answer = await self._ask("PATCH", path, Purpose.CONTROL, body=dict(fields))
        try:
            return read_answer(answer.document())
        except CloudUnintelligible:  # it took the report, and that is what matters
            return None
