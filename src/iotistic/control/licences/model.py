"""Claims of a licence, and what they allow at a time; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from iotistic.kernel.errors import Invalid
from iotistic.kernel.web.problems import PlanRefused

UNLIMITED: Final = -1
UNLICENSED_DEVICES: Final = 3
PAST_DUE_GRACE = timedelta(days=7)
"""After the end of a period that was not paid yet."""


class LicenceInvalid(Invalid):
    """The licence is not signed by the seller, or is no licence."""

    code = "licence.invalid"


class LicenceEnded(Invalid):
    """The licence has ended; a newer one is needed."""

    code = "licence.ended"


class FeatureMissing(PlanRefused):
    """The plan does not contain this."""

    code = "plan.feature_missing"


class PlanLimit(PlanRefused):
    """The plan allows no more of these."""

    code = "plan.limit"


class Feature(StrEnum):
    """What plans differ in, by the names of the claims."""

    EXECUTE_JOBS = "canExecuteJobs"
    SCHEDULE_JOBS = "canScheduleJobs"
    REMOTE_ACCESS = "canRemoteAccess"
    OTA_UPDATES = "canOtaUpdates"
    EXPORT_DATA = "canExportData"
    ADVANCED_ALERTS = "hasAdvancedAlerts"
    CUSTOM_DASHBOARDS = "hasCustomDashboards"


class Limit(StrEnum):
    """What plans count, beside devices."""

    JOB_TEMPLATES = "maxJobTemplates"
    ALERT_RULES = "maxAlertRules"
    USERS = "maxUsers"


class Standing(StrEnum):
    """How an installation stands with its licence."""

    OPEN = "open"
    """Nobody sells licences here."""
    IN_FORCE = "in_force"
    TRIAL = "trial"
    GRACE = "grace"
    """The period has ended and is not paid yet; everything goes on for a while."""
    UNLICENSED = "unlicensed"
    TRIAL_ENDED = "trial_ended"
    SUBSCRIPTION_ENDED = "subscription_ended"
    ENDED = "ended"
    UNCONFIRMED = "unconfirmed"
    """The seller could not be asked for too long."""


class _Claim(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Features(_Claim):
    """What a plan contains; what is not said is not contained."""

    max_devices: int = Field(default=UNLICENSED_DEVICES, ge=UNLIMITED)
    can_execute_jobs: bool = False
    can_schedule_jobs: bool = False
    can_remote_access: bool = False
    can_ota_updates: bool = False
    can_export_data: bool = False
    has_advanced_alerts: bool = False
    has_custom_dashboards: bool = False


class Limits(_Claim):
    """How much of what; -1 is any number."""

    max_job_templates: int = Field(default=5, ge=UNLIMITED)
    max_alert_rules: int = Field(default=10, ge=UNLIMITED)
    max_users: int = Field(default=2, ge=UNLIMITED)


class Trial(_Claim):
    """Whether it is one, and until when."""

    is_trial_mode: bool = False
    expires_at: datetime | None = None


class Subscription(_Claim):
    """How the paid period stands."""

    status: str = "active"
    current_period_ends_at: datetime | None = None


class Claims(_Claim):
    """What a licence says."""

    customer_id: str = Field(min_length=1, max_length=100)
    customer_name: str = Field(default="", max_length=300)
    plan: str = Field(min_length=1, max_length=50)
    features: Features = Field(default_factory=Features)
    limits: Limits = Field(default_factory=Limits)
    trial: Trial = Field(default_factory=Trial)
    subscription: Subscription = Field(default_factory=Subscription)
    exp: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """What is allowed now. `claims` is None where there is no licence; `until` is when that may change."""

    standing: Standing
    claims: Claims | None
    max_devices: int
    features: Mapping[str, bool]
    limits: Mapping[str, int]
    until: datetime | None = None

    @property
    def plan(self) -> str:
        """Name of the plan in force."""
        if self.standing is Standing.OPEN:
            return "open"
        return self.claims.plan if self.claims and self.is_in_force else "unlicensed"

    @property
    def is_in_force(self) -> bool:
        """Whether what the licence says counts."""
        return self.standing in (Standing.OPEN, Standing.IN_FORCE, Standing.TRIAL, Standing.GRACE)


_NOTHING = MappingProxyType(dict.fromkeys((feature.value for feature in Feature), False))
_EVERYTHING = MappingProxyType(dict.fromkeys((feature.value for feature in Feature), True))
_SMALLEST = MappingProxyType(Limits().model_dump(by_alias=True))
_ANY = MappingProxyType(dict.fromkeys((limit.value for limit in Limit), UNLIMITED))

OPEN = Licence(standing=Standing.OPEN, claims=None, max_devices=UNLIMITED, features=_EVERYTHING, limits=_ANY)


def judge(
    claims: Claims | None, now: datetime, *, confirmed_at: datetime | None, offline: timedelta | None
) -> Licence:
    """Return what claims allow now. `offline`: how long one counts without word of the seller; None: for ever."""
    if claims is None:
        return _unlicensed(Standing.UNLICENSED, None)
    standing, until = _standing(claims, now, confirmed_at, offline)
    if standing not in (Standing.IN_FORCE, Standing.TRIAL, Standing.GRACE):
        return _unlicensed(standing, claims)
    features = claims.features.model_dump(by_alias=True)
    return Licence(
        standing=standing,
        claims=claims,
        max_devices=claims.features.max_devices,
        features={feature.value: bool(features[feature.value]) for feature in Feature},
        limits=claims.limits.model_dump(by_alias=True),
        until=until,
    )


def _standing(
    claims: Claims, now: datetime, confirmed_at: datetime | None, offline: timedelta | None
) -> tuple[Standing, datetime | None]:
    ends_at = datetime.fromtimestamp(claims.exp, UTC)
    if now >= ends_at:
        return Standing.ENDED, None
    if offline is not None and (confirmed_at is None or now >= confirmed_at + offline):
        return Standing.UNCONFIRMED, None
    if claims.trial.is_trial_mode:
        until = _aware(claims.trial.expires_at)
        return (Standing.TRIAL, until) if until and now < until else (Standing.TRIAL_ENDED, None)
    return _paid(claims.subscription, now, ends_at)


def _paid(paid: Subscription, now: datetime, ends_at: datetime) -> tuple[Standing, datetime | None]:
    period_ends_at = _aware(paid.current_period_ends_at)
    if paid.status in {"active", "trialing"}:
        return Standing.IN_FORCE, ends_at
    if paid.status == "past_due":
        until = (period_ends_at or now) + PAST_DUE_GRACE
        return (Standing.GRACE, until) if now < until else (Standing.SUBSCRIPTION_ENDED, None)
    if paid.status == "canceled" and period_ends_at and now < period_ends_at:
        return Standing.IN_FORCE, period_ends_at
    return Standing.SUBSCRIPTION_ENDED, None


def _unlicensed(standing: Standing, claims: Claims | None) -> Licence:
    return Licence(
        standing=standing,
        claims=claims,
        max_devices=UNLICENSED_DEVICES,
        features=_NOTHING,
        limits=_SMALLEST,
    )


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def explain(licence: Licence) -> str:
    """Return in a sentence why a plan is as it is."""
    claims = licence.claims
    name = claims.plan if claims else ""
    return {
        Standing.OPEN: "this installation is not limited by a licence",
        Standing.IN_FORCE: f"the plan is {name}",
        Standing.TRIAL: f"this is a trial of the plan {name}",
        Standing.GRACE: f"the last period of the plan {name} is not paid yet",
        Standing.UNLICENSED: "there is no licence",
        Standing.TRIAL_ENDED: f"the trial of the plan {name} has ended",
        Standing.SUBSCRIPTION_ENDED: f"the subscription to the plan {name} has ended",
        Standing.ENDED: f"the licence for the plan {name} has ended",
        Standing.UNCONFIRMED: "the licence was not confirmed by its seller for too long",
    }[licence.standing]


def document_of(claims: Any) -> Claims:
    """Return claims as they were decoded. Raises LicenceInvalid."""
    try:
        return Claims.model_validate(claims)
    except ValueError as exc:
        raise LicenceInvalid("the licence does not say what a licence says") from exc
