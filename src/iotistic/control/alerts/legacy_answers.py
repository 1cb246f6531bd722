"""Rules and alerts in the words of the earlier system as their description has them; `legacy` makes the answers."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from iotistic.control.alerts.conditions import Severity
from iotistic.kernel.web.describing import Absent, Answer


class LogAlertRule(Answer):
    """A rule on lines of logs. Of the three `notify_` fields two say whether anybody is told at all."""

    id: UUID
    name: str
    pattern: str
    pattern_type: Literal["regex", "keyword", "exact"]
    service_name: str | None
    level: Literal["debug", "info", "warn", "error"] | None
    trigger_type: Literal["count"]
    threshold: int
    time_window: float = Field(description="Seconds.")
    severity: Severity
    notify_email: bool
    notify_webhook: bool
    notify_dashboard: bool
    is_enabled: bool
    device_uuid: str | None = Field(description="A uuid, MAC or external key; null for none and for several.")
    created_at: datetime
    updated_at: datetime


class LogAlertRules(Answer):
    """Rules on logs."""

    rules: list[LogAlertRule]
    count: int


class OneLogAlertRule(Answer):
    """A rule on logs."""

    rule: LogAlertRule


class RuleGone(Answer):
    """That a rule is removed."""

    message: str


class DeviceAlert(Answer):
    """An alert; `rule_id` is null when the rule is removed, `device_uuid` where it is about no device."""

    id: UUID
    rule_id: UUID | None
    rule_name: str
    device_uuid: UUID | None
    severity: Severity
    status: Literal["pending", "active", "acknowledged", "silenced", "resolved"]
    acknowledged_by: str | None
    triggered_at: datetime | None = Field(description="Null until it fires.")
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    created_at: datetime


class DeviceAlerts(Answer):
    """Alerts, the newest first."""

    alerts: list[DeviceAlert]
    count: int


class OneDeviceAlert(Answer):
    """An alert."""

    alert: DeviceAlert


class DeviceAlertStats(Answer):
    """Counts by state and by severity; a state that no alert is in is left out. Those resolved are of a week."""

    total: int
    active: int
    pending: int | Absent = None
    acknowledged: int | Absent = None
    silenced: int | Absent = None
    resolved: int | Absent = None
    info: int
    warning: int
    critical: int


class LogsJudged(Answer):
    """That there is nothing to do."""

    message: str
    device_uuid: UUID


class AlertsBySeverity(Answer):
    """Counts; a severity that no alert has is left out."""

    info: int | Absent = None
    warning: int | Absent = None
    critical: int | Absent = None


class AlertCounts(Answer):
    """Counts by state and severity; a state that no alert is in is left out. Those resolved are of a week."""

    pending: AlertsBySeverity | Absent = None
    firing: AlertsBySeverity | Absent = None
    acknowledged: AlertsBySeverity | Absent = None
    silenced: AlertsBySeverity | Absent = None
    resolved: AlertsBySeverity | Absent = None
