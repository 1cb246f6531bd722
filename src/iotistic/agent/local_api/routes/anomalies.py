"""Anomalies that were found, how each metric stands, and what people say of them."""

import json

from aiohttp import web

from iotistic.agent.local_api.bodies import count_in, read_body, switch_in
from iotistic.agent.local_api.ports import Anomalies, Parts
from iotistic.agent.local_api.problems import NotPossible
from iotistic.agent.local_api.streaming import BEAT_S, stream
from iotistic.detection.feedback import Verdict
from iotistic.kernel.errors import Unavailable
from iotistic.planning.faults import shown

_COUNT, _MOST = 100, 100_000
_MOST_FOLLOWERS = 16


class TooManyWatchers(Unavailable):
    """Too many callers follow the anomalies already."""

    code = "device_api.too_many_followers"


class AnomalyRoutes:
    """Only where the agent looks for anomalies."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._followers = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v2/anomalies", self.anomalies),
            web.get("/v2/anomalies/metrics", self.metrics),
            web.get("/v2/anomalies/{id}", self.anomaly),
            web.post("/v2/anomalies/{id}/feedback", self.feedback),
        ]

    async def anomalies(self, request: web.Request) -> web.StreamResponse:
        """Return the last anomalies, or with `follow` everything from there on as NDJSON."""
        watch, count = self._watch(), count_in(request, "lines", _COUNT, _MOST)
        if not switch_in(request, "follow"):
            found = [one.document() for one in watch.recent(count)]
            return web.json_response({"count": len(found), "anomalies": found, "watch": dict(watch.status())})
        if self._followers >= _MOST_FOLLOWERS:
            raise TooManyWatchers(f"{_MOST_FOLLOWERS} callers follow the anomalies", retry_after_s=BEAT_S)
        self._followers += 1
        try:
            followed = watch.follow(recent=count)
            return await stream(
                request, (json.dumps(one.document()).encode() + b"\n" async for one in followed)
            )
        finally:
            self._followers -= 1

    async def metrics(self, _request: web.Request) -> web.Response:
        """Return how each metric stands, and the watch itself."""
        watch = self._watch()
        return web.json_response(
            {"watch": dict(watch.status()), "metrics": [dict(one) for one in watch.metrics()]}
        )

    async def anomaly(self, request: web.Request) -> web.Response:
        """Return one anomaly."""
        return web.json_response(self._watch().find(request.match_info["id"]).document())

    async def feedback(self, request: web.Request) -> web.Response:
        """Take what a person says of an anomaly: `verdict` is expected or wrong."""
        body = await read_body(request)
        verdict = body.read("verdict", _verdict)
        if verdict is None and not body.faults:
            body.fault("verdict", "is missing: expected or wrong")
        body.check()
        watch, name = self._watch(), request.match_info["id"]
        judged = watch.find(name) if verdict is None else await watch.feedback(name, verdict)
        return web.json_response({"status": "ok", "anomaly": judged.document()})

    def _watch(self) -> Anomalies:
        if self._parts.anomalies is None:
            raise NotPossible("this agent does not look for anomalies")
        return self._parts.anomalies


def _verdict(value: object) -> Verdict:
    found = next((one for one in Verdict if one == value), None)
    if found is None:
        raise ValueError(f"is one of {', '.join(Verdict)}, not {shown(value)}")
    return found
