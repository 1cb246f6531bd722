"""Scenarios of the simulation mode, and the test of the edge's watch over readings."""

from collections.abc import Mapping
from typing import cast

from aiohttp import web

from iotistic.agent.local_api.bodies import read_body
from iotistic.agent.local_api.ports import Parts, Simulation
from iotistic.agent.local_api.problems import NotPossible
from iotistic.planning.faults import shown

_HINT = "start the agent with SIMULATION_MODE=true"


class SimulationRoutes:
    """Only where the agent simulates."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/simulation/status", self.status),
            web.post("/v1/simulation/scenarios/{name}/start", self.start),
            web.post("/v1/simulation/scenarios/{name}/stop", self.stop),
            web.post("/v1/simulation/stop-all", self.stop_all),
            web.post("/v1/test/anomaly", self.test_anomaly),
        ]

    async def status(self, _request: web.Request) -> web.Response:
        """Return which scenarios there are, and which run."""
        if self._parts.simulation is None:
            return web.json_response({"enabled": False, "activeCount": 0, "scenarios": []})
        return web.json_response(dict(self._parts.simulation.status()))

    async def start(self, request: web.Request) -> web.Response:
        """Start a scenario; `config` in the body changes it."""
        body = await read_body(request)
        config = body.read("config", _object)
        body.check()
        found = self._simulation().start(request.match_info["name"], config)
        return web.json_response({"status": "ok", "scenario": dict(found)})

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a scenario."""
        (await read_body(request)).check()
        found = self._simulation().stop(request.match_info["name"])
        return web.json_response({"status": "ok", "scenario": dict(found)})

    async def stop_all(self, request: web.Request) -> web.Response:
        """Stop all scenarios."""
        (await read_body(request)).check()
        return web.json_response({"status": "ok", **self._simulation().stop_all()})

    async def test_anomaly(self, request: web.Request) -> web.Response:
        """Let a made-up anomaly be found."""
        body = await read_body(request)
        document = {name: body.raw(name) for name, _ in body.items()}
        body.check()
        if self._parts.anomalies is None:
            raise NotPossible("this agent does not look for anomalies")
        return web.json_response(dict(await self._parts.anomalies.test(document)))

    def _simulation(self) -> Simulation:
        if self._parts.simulation is None:
            raise NotPossible("this agent does not simulate", hint=_HINT)
        return self._parts.simulation


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"is to be an object, not {shown(value)}")  # noqa: TRY004  one kind of fault
    return cast("Mapping[str, object]", value)
