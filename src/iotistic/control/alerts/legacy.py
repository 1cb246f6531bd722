"""Rules and alerts in the words of the earlier system, for dashboards that are deployed: snake_case, logs only."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from iotistic.control.alerts.conditions import (
    Definition,
    LogCount,
    LogPattern,
    Pattern,
    RuleSpec,
    Selection,
    Severity,
)
from iotistic.control.alerts.model import Alert, AlertState, Rule
from iotistic.kernel.errors import Invalid

_STATES = {
    "active": AlertState.FIRING,
    "firing": AlertState.FIRING,
    "pending": AlertState.PENDING,
    "silenced": AlertState.SILENCED,
    "acknowledged": AlertState.ACKNOWLEDGED,
    "resolved": AlertState.RESOLVED,
}


class SequenceHasSteps(Invalid):
    """A sequence has a pattern for each step, which this form has no room for."""

    code = "alerts.sequence_has_steps"


class StatusUnknown(Invalid):
    """There is no such status of an alert."""

    code = "alerts.status_unknown"


class LegacyRule(BaseModel):
    """A rule on logs. The three `notify_` fields are accepted; who is told is said by the rule's targets."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=200)
    pattern: str = Field(min_length=1, max_length=500)
    pattern_type: Literal["regex", "keyword", "exact"] = "regex"
    service_name: str | None = Field(None, max_length=200)
    level: Literal["debug", "info", "warn", "error"] | None = None
    trigger_type: Literal["count", "rate", "sequence"] = "count"
    threshold: int = Field(1, ge=1, le=1000)
    time_window: float = Field(300, gt=0, le=86_400, description="Seconds.")
    severity: Severity = Severity.WARNING
    is_enabled: bool = True
    device_uuid: UUID | None = None

    def spec(self) -> RuleSpec:
        """Return the rule as it is kept. Raises SequenceHasSteps."""
        if self.trigger_type == "sequence":
            raise SequenceHasSteps(hint="POST /alerts/rules with a condition of type log_sequence")
        condition = LogCount(
            type="log_count",
            match=Pattern(kind=self.pattern_type, text=self.pattern),
            service=self.service_name or None,
            level=self.level,
            count=self.threshold,
            window_s=self.time_window,
        )
        devices = [str(self.device_uuid)] if self.device_uuid else []
        return RuleSpec(
            name=self.name,
            severity=self.severity,
            is_enabled=self.is_enabled,
            condition=condition,
            selection=Selection(devices=devices),
            for_s=0.0,
        )


def shown_rule(rule: Rule) -> dict[str, Any] | None:
    """Return a rule in the old form; None for one that has none."""
    condition, devices = rule.definition.condition, rule.definition.selection.devices
    if not isinstance(condition, LogCount | LogPattern):
        return None
    is_count = isinstance(condition, LogCount)
    return {
        "id": str(rule.id),
        "name": rule.name,
        "pattern": condition.match.text,
        "pattern_type": condition.match.kind,
        "service_name": condition.service,
        "level": condition.level,
        "trigger_type": "count",
        "threshold": condition.count if is_count else 1,
        "time_window": condition.window_s if is_count else condition.quiet_s,
        "severity": rule.severity.value,
        "notify_email": bool(rule.targets),
        "notify_webhook": bool(rule.targets),
        "notify_dashboard": True,
        "is_enabled": rule.is_enabled,
        "device_uuid": devices[0] if len(devices) == 1 else None,
        "created_at": rule.created_at.isoformat(),
        "updated_at": rule.updated_at.isoformat(),
    }


def kept_with(rule: Rule, spec: RuleSpec) -> RuleSpec:
    """Return a changed rule with what the old form has no room for: its targets."""
    definition: Definition = spec.definition
    return RuleSpec(
        name=spec.name,
        severity=spec.severity,
        is_enabled=spec.is_enabled,
        targets=list(rule.targets),
        condition=definition.condition,
        selection=definition.selection,
        for_s=definition.for_s,
    )


def state_of(status: str | None) -> str | None:
    """Return the state that a status of the old form means. Raises StatusUnknown."""
    if status is None:
        return None
    if status not in _STATES:
        raise StatusUnknown(status=status, hint=f"one of {', '.join(_STATES)}")
    return _STATES[status].value


def shown_alert(alert: Alert) -> dict[str, Any]:
    """Return an alert in the old form."""
    status = "active" if alert.state is AlertState.FIRING else alert.state.value
    times = {
        name: at and at.isoformat()
        for name, at in (
            ("triggered_at", alert.fired_at),
            ("acknowledged_at", alert.acknowledged_at),
            ("resolved_at", alert.resolved_at),
            ("created_at", alert.created_at),
        )
    }
    return {
        "id": str(alert.id),
        "rule_id": alert.rule_id and str(alert.rule_id),
        "rule_name": alert.rule_name,
        "device_uuid": alert.device_uuid and str(alert.device_uuid),
        "severity": alert.severity.value,
        "status": status,
        "acknowledged_by": alert.acknowledged_by,
        **times,
    }
