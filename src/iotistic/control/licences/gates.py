"""Which routes a plan may close, in one table; the gate of all routes asks it after it knows who calls.

Devices are counted where they are taken in, in the same transaction: no race passes that limit.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fastapi.routing import APIRoute
from starlette.requests import Request

from iotistic.control.licences.model import Feature, Limit
from iotistic.control.licences.service import LicenceService

GATED: Mapping[tuple[str, str], Feature | Limit] = MappingProxyType(
    {
        ("POST", "/jobs"): Feature.EXECUTE_JOBS,
        ("POST", "/jobs/execute"): Feature.EXECUTE_JOBS,
        ("POST", "/jobs/schedules"): Feature.SCHEDULE_JOBS,
        ("PATCH", "/jobs/schedules/{schedule_id}"): Feature.SCHEDULE_JOBS,
        ("POST", "/jobs/schedules/{schedule_id}/resume"): Feature.SCHEDULE_JOBS,
        ("POST", "/jobs/templates"): Limit.JOB_TEMPLATES,
        ("POST", "/rollouts"): Feature.OTA_UPDATES,
        ("POST", "/devices/{uuid}/update-agent"): Feature.OTA_UPDATES,
        ("POST", "/alerts/rules"): Limit.ALERT_RULES,
        ("POST", "/alerts/alert-rules"): Limit.ALERT_RULES,
        ("POST", "/alerts/rules/backtest"): Feature.ADVANCED_ALERTS,
        ("POST", "/users"): Limit.USERS,
    }
)
"""Method and path below the API's base -> what the plan has to contain, or to have room for."""

EXPORTS = frozenset(
    {
        ("GET", "/telemetry/devices/{device:path}/series"),
        ("GET", "/telemetry/devices/{device:path}/readings"),
    }
)
"""What takes the plan's export of data, when it is asked for as a file (`format=csv`)."""


class PlanGate:
    """Says no where the plan does. `base` is the path that all routes of the API begin with."""

    def __init__(self, service: LicenceService, *, base: str) -> None:
        self._service, self._base = service, base

    async def admit(self, request: Request) -> None:
        """Raise FeatureMissing or PlanLimit (402) for a route that the plan closes."""
        route = request.scope.get("route")
        path = route.path if isinstance(route, APIRoute) else request.url.path
        asked = (request.method, path.removeprefix(self._base))
        needed = GATED.get(asked)
        if asked in EXPORTS and "csv" in request.query_params.getlist("format"):
            needed = Feature.EXPORT_DATA
        if isinstance(needed, Feature):
            await self._service.require(needed)
        elif needed is not None:
            await self._service.require_room(needed)
