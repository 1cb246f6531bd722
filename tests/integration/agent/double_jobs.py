"""The cloud's routes for jobs: one device's queue, and the statuses that a cloud would allow."""

import gzip
import json
from typing import Any

from aiohttp import web
from tests.integration.agent.cloud_double import KEY

from iotistic.contracts.jobs import JobStatus, TransitionRefused, moved


class JobQueue:
    """What the cloud wants done, and what it was told; `add` mounts it: `CloudDouble(extra=(queue.add,))`."""

    def __init__(self, *orders: dict[str, Any]) -> None:
        self.orders = list(orders)
        self.statuses: dict[str, JobStatus] = {}
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.encodings: list[str] = []
        self.polls = 0
        self.instead: list[web.Response] = []
        self.accepts = lambda key: key == KEY

    def add(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/devices/{uuid}/jobs/next", self._next)
        app.router.add_patch("/api/v1/devices/{uuid}/jobs/{job}/status", self._status)

    def status(self, job: str) -> JobStatus:
        return self.statuses.get(job, JobStatus.QUEUED)

    def cancel(self, job: str) -> None:
        self.statuses[job] = JobStatus.CANCELED

    def end_of(self, job: str) -> dict[str, Any]:
        return next(
            fields for told, fields in self.reports if told == job and JobStatus(fields["status"]).is_final
        )

    async def _next(self, request: web.Request) -> web.Response:
        self.polls += 1
        if (refusal := self._refusal(request)) is not None:
            return refusal
        waiting = [order for order in self.orders if not self.status(order["job_id"]).is_final]
        if not waiting:
            return web.json_response(
                {"error": "not_found", "message": "no job", "hint": "ask later"}, status=404
            )
        return web.json_response(waiting[0])

    async def _status(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        job = request.match_info["job"]
        body = await request.read()
        self.encodings.append(request.headers.get("Content-Encoding", ""))
        fields = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        if self.status(job) is not JobStatus.CANCELED:
            try:
                self.statuses[job] = moved(self.status(job), JobStatus(fields["status"]))
            except TransitionRefused as exc:
                return web.json_response({"error": exc.code, "message": exc.message}, status=409)
        self.reports.append((job, fields))
        return web.json_response({"status": self.status(job)})

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self.accepts(request.headers.get("X-Device-API-Key")):
            return web.json_response({"error": "unauthorized", "message": "the key is wrong"}, status=401)
        return self.instead.pop(0) if self.instead else None
