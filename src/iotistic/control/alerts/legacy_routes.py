"""/alerts/alert-rules and /alerts/alerts, as the earlier system has them. Its /stats was shadowed by /:id; not here."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.alerts.conditions import RuleSpec, Severity
from iotistic.control.alerts.legacy import LegacyRule, kept_with, shown_alert, shown_rule, state_of
from iotistic.control.alerts.legacy_answers import (
    DeviceAlerts,
    DeviceAlertStats,
    LogAlertRules,
    LogsJudged,
    OneDeviceAlert,
    OneLogAlertRule,
    RuleGone,
)
from iotistic.control.alerts.model import RuleUnknown
from iotistic.control.alerts.service import AlertService, RuleService
from iotistic.kernel.web.describing import answered

_reads = [requires(Permission.DATA_READ)]
_Reader = Annotated[Caller, requires(Permission.DATA_READ)]
_Writer = Annotated[Caller, requires(Permission.SETTINGS_WRITE)]
_Attendant = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]


def legacy_alert_router(rules: RuleService, alerts: AlertService) -> APIRouter:
    """Return the routes; they come before those of single alerts."""
    router = APIRouter(prefix="/alerts", tags=["alerts of the earlier system"])
    _add_rules(router, rules)
    _add_alerts(router, alerts)
    return router


def _add_rules(router: APIRouter, rules: RuleService) -> None:
    @router.get("/alert-rules", dependencies=_reads, responses=answered(LogAlertRules))
    async def list_rules() -> dict[str, Any]:
        """Rules on logs."""
        shown = [one for rule in await rules.list_all() if (one := shown_rule(rule))]
        return {"rules": shown, "count": len(shown)}

    @router.post("/alert-rules", status_code=201, responses=answered(OneLogAlertRule, status=201))
    async def create_rule(asked: LegacyRule, caller: _Writer) -> dict[str, Any]:
        """Make a rule on logs."""
        made = await rules.create(_spec(asked), by=caller.name)
        return {"rule": shown_rule(made)}

    @router.get("/alert-rules/{rule_id}", dependencies=_reads, responses=answered(OneLogAlertRule))
    async def find_rule(rule_id: UUID) -> dict[str, Any]:
        """One rule on logs."""
        return {"rule": await _shown(rules, rule_id)}

    @router.put("/alert-rules/{rule_id}", responses=answered(OneLogAlertRule))
    async def change_rule(
        rule_id: UUID, asked: Annotated[dict[str, Any], Body()], caller: _Writer
    ) -> dict[str, Any]:
        """Change what the body names."""
        before = await _shown(rules, rule_id)
        try:
            wanted = LegacyRule.model_validate(before | asked)
        except ValidationError as exc:
            raise RequestValidationError(_in_body(exc)) from exc
        spec = kept_with(await rules.find(rule_id), _spec(wanted))
        return {"rule": shown_rule(await rules.change(rule_id, spec, by=caller.name))}

    @router.delete("/alert-rules/{rule_id}", responses=answered(RuleGone))
    async def delete_rule(rule_id: UUID, caller: _Writer) -> dict[str, Any]:
        """Remove a rule on logs."""
        await _shown(rules, rule_id)
        await rules.remove(rule_id, by=caller.name)
        return {"message": "the rule is removed"}

    _ = list_rules, create_rule, find_rule, change_rule, delete_rule


def _add_alerts(router: APIRouter, alerts: AlertService) -> None:
    @router.get("/alerts", responses=answered(DeviceAlerts))
    async def list_alerts(
        caller: _Reader,
        device_uuid: UUID | None = None,
        status: Annotated[str | None, Query(max_length=40)] = None,
        severity: Severity | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000)] = 0,
    ) -> dict[str, Any]:
        """Alerts, the newest first."""
        found = await alerts.list_newest(
            caller.scope,
            state=state_of(status),
            severity=severity and severity.value,
            device_uuid=device_uuid,
            limit=limit + offset,
        )
        shown = [shown_alert(one) for one in found[offset:]]
        return {"alerts": shown, "count": len(shown)}

    @router.get("/alerts/stats", responses=answered(DeviceAlertStats))
    async def stats(caller: _Reader) -> dict[str, Any]:
        """Counts by state and by severity."""
        counts = await alerts.stats(caller.scope)
        by_state = {state: sum(one.values()) for state, one in counts.items()}
        by_severity = {one.value: sum(state.get(one, 0) for state in counts.values()) for one in Severity}
        active = by_state.pop("firing", 0)
        return {"total": active + sum(by_state.values()), "active": active, **by_state, **by_severity}

    @router.post(
        "/alerts/process/{device_uuid}",
        dependencies=[requires(Permission.DEVICE_CONTROL)],
        responses=answered(LogsJudged),
    )
    async def process(device_uuid: UUID) -> dict[str, Any]:
        """Nothing is left to do: lines are judged as they come."""
        return {"message": "logs are judged as they come", "device_uuid": str(device_uuid)}

    @router.get("/alerts/{alert_id}", responses=answered(OneDeviceAlert))
    async def find_alert(alert_id: UUID, caller: _Reader) -> dict[str, Any]:
        """One alert."""
        return {"alert": shown_alert(await alerts.find(caller.scope, alert_id))}

    @router.post("/alerts/{alert_id}/acknowledge", responses=answered(OneDeviceAlert))
    async def acknowledge(alert_id: UUID, caller: _Attendant) -> dict[str, Any]:
        """Say that somebody looks after it: the caller, whatever `acknowledged_by` claims."""
        done = await alerts.acknowledge(caller.scope, alert_id, by=caller.name)
        return {"alert": shown_alert(done)}

    @router.post("/alerts/{alert_id}/resolve", responses=answered(OneDeviceAlert))
    async def resolve(alert_id: UUID, caller: _Attendant) -> dict[str, Any]:
        """End it by a person's word."""
        return {"alert": shown_alert(await alerts.resolve(caller.scope, alert_id, by=caller.name))}

    _ = list_alerts, stats, process, find_alert, acknowledge, resolve


def _spec(asked: LegacyRule) -> RuleSpec:
    try:
        return asked.spec()
    except ValidationError as exc:
        raise RequestValidationError(_in_body(exc)) from exc


def _in_body(exc: ValidationError) -> list[dict[str, Any]]:
    return [dict(fault) | {"loc": ("body", *fault["loc"])} for fault in exc.errors()]


async def _shown(rules: RuleService, rule_id: UUID) -> dict[str, Any]:
    shown = shown_rule(await rules.find(rule_id))
    if shown is None:
        raise RuleUnknown(hint="it is no rule on lines of logs: GET /alerts/rules")
    return shown
