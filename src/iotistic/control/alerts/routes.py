"""/alerts: rules, what they raised, and silences. Whoever reads data reads alerts."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.alerts.backtest import Backtest
from iotistic.control.alerts.conditions import RuleSpec, Severity
from iotistic.control.alerts.legacy_answers import AlertCounts
from iotistic.control.alerts.legacy_routes import legacy_alert_router
from iotistic.control.alerts.paging import read_cursor, write_cursor
from iotistic.control.alerts.schemas import (
    AlertPage,
    AlertRow,
    BacktestAnswer,
    BacktestRequest,
    RuleRow,
    SilenceRequest,
    SilenceRow,
)
from iotistic.control.alerts.service import AlertService, RuleService
from iotistic.control.alerts.target_routes import alert_target_router
from iotistic.control.alerts.targets import TargetService
from iotistic.kernel.web.describing import answered

_reads = [requires(Permission.DATA_READ)]
_Reader = Annotated[Caller, requires(Permission.DATA_READ)]
_Writer = Annotated[Caller, requires(Permission.SETTINGS_WRITE)]
_Attendant = Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
_State = Literal["pending", "firing", "acknowledged", "silenced", "resolved"]
_Before = Annotated[str | None, Query(max_length=80)]
_Limit = Annotated[int, Query(ge=1, le=500)]


def alert_router(
    rules: RuleService, alerts: AlertService, backtest: Backtest, targets: TargetService
) -> APIRouter:
    """Return the routes below /alerts."""
    router = APIRouter(prefix="/alerts", tags=["alerts"])
    _add_rules(router, rules, backtest)
    _add_silences(router, alerts)
    # Those with an id right behind /alerts come last: any word is an id until it is found to be none.
    _add_alerts(router, alerts)
    whole = APIRouter()
    whole.include_router(alert_target_router(targets))
    whole.include_router(legacy_alert_router(rules, alerts))
    whole.include_router(router)
    return whole


def _add_rules(router: APIRouter, rules: RuleService, backtest: Backtest) -> None:
    @router.get("/rules", operation_id="list_alert_rules", dependencies=_reads)
    async def list_rules() -> list[RuleRow]:
        """Every rule, by name, with how far it is evaluated."""
        return [RuleRow.of(rule) for rule in await rules.list_all()]

    @router.post("/rules", operation_id="create_alert_rule", status_code=201)
    async def create_rule(asked: RuleSpec, caller: _Writer) -> RuleRow:
        """Make a rule; it judges what is measured from now on."""
        return RuleRow.of(await rules.create(asked, by=caller.name))

    @router.post("/rules/backtest", operation_id="backtest_alert_rule", dependencies=_reads)
    async def try_rule(asked: BacktestRequest) -> BacktestAnswer:
        """Say what a rule would have raised in the past; nothing is kept, nobody is told."""
        return BacktestAnswer.of(await backtest.run(asked.rule.definition, asked.start, asked.end))

    @router.get("/rules/{rule_id}", operation_id="get_alert_rule", dependencies=_reads)
    async def find_rule(rule_id: UUID) -> RuleRow:
        """One rule."""
        return RuleRow.of(await rules.find(rule_id))

    @router.put("/rules/{rule_id}", operation_id="change_alert_rule")
    async def change_rule(rule_id: UUID, asked: RuleSpec, caller: _Writer) -> RuleRow:
        """Replace a rule; if it judges something else now, it begins anew and its open alerts end."""
        return RuleRow.of(await rules.change(rule_id, asked, by=caller.name))

    @router.delete("/rules/{rule_id}", operation_id="delete_alert_rule", status_code=204)
    async def delete_rule(rule_id: UUID, caller: _Writer) -> None:
        """Remove a rule; its alerts end, and stay in the list."""
        await rules.remove(rule_id, by=caller.name)

    _ = list_rules, create_rule, try_rule, find_rule, change_rule, delete_rule


def _add_silences(router: APIRouter, alerts: AlertService) -> None:
    @router.get("/silences", operation_id="list_alert_silences")
    async def list_silences(caller: _Reader) -> list[SilenceRow]:
        """Silences that are not over."""
        return [SilenceRow.of(one) for one in await alerts.silences(caller.scope)]

    @router.post("/silences", operation_id="create_alert_silence", status_code=201)
    async def create_silence(asked: SilenceRequest, caller: _Attendant) -> SilenceRow:
        """Let alerts of a rule, a device, or both be told nobody until a time."""
        made = await alerts.silence(caller.scope, **dict(asked), by=caller.name)
        return SilenceRow.of(made)

    @router.delete("/silences/{silence_id}", operation_id="end_alert_silence")
    async def end_silence(silence_id: UUID, caller: _Attendant) -> SilenceRow:
        """Let a silence be over; alerts that fire then are told."""
        return SilenceRow.of(await alerts.end_silence(caller.scope, silence_id))

    _ = list_silences, create_silence, end_silence


def _add_alerts(router: APIRouter, alerts: AlertService) -> None:
    @router.get("", operation_id="list_alerts")
    async def list_alerts(
        caller: _Reader,
        state: _State | None = None,
        severity: Severity | None = None,
        rule_id: Annotated[UUID | None, Query(alias="ruleId")] = None,
        device_uuid: Annotated[UUID | None, Query(alias="deviceUuid")] = None,
        before: _Before = None,
        limit: _Limit = 100,
    ) -> AlertPage:
        """Alerts, the newest first."""
        found = await alerts.list_newest(
            caller.scope,
            state=state,
            severity=severity and severity.value,
            rule_id=rule_id,
            device_uuid=device_uuid,
            before=read_cursor(before),
            limit=limit,
        )
        following = write_cursor(found[-1].created_at, found[-1].id) if len(found) == limit else None
        return AlertPage(items=[AlertRow.of(one) for one in found], next=following)

    @router.get("/stats", operation_id="count_alerts", responses=answered(AlertCounts))
    async def stats(caller: _Reader) -> dict[str, dict[str, int]]:
        """Counts by state and severity; of those resolved, the last week's."""
        return await alerts.stats(caller.scope)

    @router.get("/{alert_id}", operation_id="get_alert")
    async def find_alert(alert_id: UUID, caller: _Reader) -> AlertRow:
        """One alert."""
        return AlertRow.of(await alerts.find(caller.scope, alert_id))

    @router.post("/{alert_id}/acknowledge", operation_id="acknowledge_alert")
    async def acknowledge(alert_id: UUID, caller: _Attendant) -> AlertRow:
        """Say that somebody looks after it."""
        return AlertRow.of(await alerts.acknowledge(caller.scope, alert_id, by=caller.name))

    @router.post("/{alert_id}/resolve", operation_id="resolve_alert")
    async def resolve(alert_id: UUID, caller: _Attendant) -> AlertRow:
        """End it by a person's word; it comes again once its condition has ended and begins anew."""
        return AlertRow.of(await alerts.resolve(caller.scope, alert_id, by=caller.name))

    _ = list_alerts, stats, find_alert, acknowledge, resolve
