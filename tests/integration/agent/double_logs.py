"""The cloud's route for logs: keeps what comes, and answers first with what it is told to."""

import gzip
import json

from aiohttp import web
from tests.integration.agent.cloud_double import KEY


class LogsDouble:
    """`instead` are answers that come before it takes anything."""

    def __init__(self):
        self.lines, self.requests, self.instead = [], [], []
        self.accepts = lambda key: key == KEY

    def add(self, app: web.Application) -> None:
        app.router.add_post("/api/v1/device/{uuid}/logs", self._post)

    @property
    def messages(self):
        return [line["message"] for line in self.lines]

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has taken the gzip off already
        self.requests.append((request.headers.copy(), len(body), request.match_info["uuid"]))
        if not self.accepts(request.headers.get("X-Device-API-Key")):
            return web.json_response({"message": "the key is wrong"}, status=401)
        if self.instead:
            return web.Response(status=self.instead.pop(0))
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        lines = [json.loads(line) for line in body.splitlines()]
        self.lines += lines
        return web.json_response({"status": "ok", "received": len(lines)})
