"""The routes of the cloud that an agent uses, in this process: what they answer can be set, what they got is kept."""

import contextlib
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from aiohttp import web

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
KEY = "device-key"


class CloudDouble:
    """One device's cloud."""

    def __init__(self, extra: Iterable[Callable[[web.Application], None]] = ()) -> None:
        self._extra = tuple(extra)
        self.state: dict[str, Any] = {"apps": {}, "config": {}, "version": 1}
        self.known: dict[str, Any] = {}
        self.reports: list[dict[str, Any]] = []
        self.requests: list[web.Request] = []
        self.instead: web.Response | None = None
        self.url = ""
        self.uuid = UUID
        self.accepts = lambda key: key == KEY

    def deploy(self, services: list[dict[str, Any]]) -> None:
        apps = {"7": {"appId": 7, "appName": "shop", "services": services}}
        self.state = {**self.state, "apps": apps, "version": self.state["version"] + 1}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["CloudDouble"]:
        app = web.Application()
        app.router.add_get("/api/v1/device/{uuid}/state", self._get)
        app.router.add_patch("/api/v1/device/state", self._patch)
        for add in self._extra:
            add(app)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
            yield self
        finally:
            await runner.cleanup()

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.requests.append(request)
        if not self.accepts(request.headers.get("X-Device-API-Key")):
            return web.json_response({"error": "unauthorized", "message": "the key is wrong"}, status=401)
        return self.instead

    async def _get(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        etag = hashlib.sha256(json.dumps(self.state, sort_keys=True).encode()).hexdigest()
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.json_response({self.uuid: self.state}, headers={"ETag": etag})

    async def _patch(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        report = json.loads(body)[self.uuid]
        self.reports.append(report)
        self.known |= report
        return web.json_response({"status": "ok"})
