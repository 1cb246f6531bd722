"""What to do next: about one part, given what its device says; about a rollout, given its parts. Pure.

Whoever calls keeps the rows and the time, and does what is said. Nothing here looks back: after a crash the
same question gets the same answer.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from iotistic.control.rollouts.model import ACTIVE, BAD, Counts, Part, PartState, RolloutState
from iotistic.control.rollouts.policy import OnHalt, Policy
from iotistic.control.rollouts.sequential import Seen, compare

_LATE = "its deadline passed"
_MINUTE = timedelta(minutes=1)
_NOBODY = Seen(0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What is known of a device now."""

    in_force: int
    """The version that the cloud has for it."""
    version: int | None = None
    """The version that it says it works on."""
    reported_at: datetime | None = None
    settled: bool = False
    """Whether it is what the version in force says."""
    trouble: str = ""
    """Why it counts as failing, empty when it does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartMove:
    """A part goes on. Without a deadline it has ended."""

    state: PartState
    reason: str = ""
    code: str = ""
    deadline: datetime | None = None


def judge_part(part: Part, seen: Observation, policy: Policy, now: datetime) -> PartMove | None:
    """Return what becomes of a part, None for nothing yet."""
    expected = part.back_version if part.state is PartState.ROLLING_BACK else part.to_version
    if expected is None or part.state not in _JUDGES:
        return None
    if seen.in_force != expected:
        reason = f"version {seen.in_force} was set by somebody else, after {expected}"
        return PartMove(state=PartState.SUPERSEDED, reason=reason, code="rollout.target_changed")
    return _JUDGES[part.state](part, seen, policy, now)


def _updating(part: Part, seen: Observation, policy: Policy, now: datetime) -> PartMove | None:
    took_it = seen.version == part.to_version
    if took_it and seen.trouble:
        return PartMove(state=PartState.FAILED, reason=seen.trouble, code="rollout.device_failing")
    if took_it and seen.settled:
        return PartMove(state=PartState.WATCHING, deadline=now + timedelta(seconds=policy.watch_s))
    if now < part.deadline:
        return None
    if took_it:
        reason = f"{_LATE}: it took the new target and did not get there"
        return PartMove(state=PartState.TIMED_OUT, reason=reason, code="rollout.timed_out")
    if seen.reported_at is not None and part.started_at is not None and seen.reported_at > part.started_at:
        reason = f"{_LATE}: it was heard, and did not take the new target"
        return PartMove(state=PartState.TIMED_OUT, reason=reason, code="rollout.not_taken")
    reason = f"{_LATE}: it was not heard; it takes the new target when it comes back"
    return PartMove(state=PartState.OFFLINE, reason=reason, code="rollout.device_offline")


def _watching(part: Part, seen: Observation, _policy: Policy, now: datetime) -> PartMove | None:
    if seen.trouble:
        return PartMove(state=PartState.FAILED, reason=seen.trouble, code="rollout.device_failing")
    if now < part.deadline:
        return None
    if seen.settled:
        return PartMove(state=PartState.SUCCEEDED)
    reason = "it was there, and is not any more"
    return PartMove(state=PartState.FAILED, reason=reason, code="rollout.not_settled")


def _succeeded(_part: Part, seen: Observation, _policy: Policy, _now: datetime) -> PartMove | None:
    if not seen.trouble:
        return None
    reason = f"after it had succeeded: {seen.trouble}"
    return PartMove(state=PartState.FAILED, reason=reason, code="rollout.device_failing")


def _rolling_back(part: Part, seen: Observation, _policy: Policy, now: datetime) -> PartMove | None:
    if seen.version == part.back_version and seen.settled:
        return PartMove(state=PartState.ROLLED_BACK)
    if now < part.deadline:
        return None
    was = (
        "it took the older target and did not get there"
        if seen.version == part.back_version
        else "it was not heard"
    )
    reason = f"{_LATE}: {was}; the older target stays in force"
    return PartMove(state=PartState.ROLLBACK_FAILED, reason=reason, code="rollout.rollback_late")


_JUDGES = {
    PartState.UPDATING: _updating,
    PartState.WATCHING: _watching,
    PartState.SUCCEEDED: _succeeded,
    PartState.ROLLING_BACK: _rolling_back,
}

_LEAVING = {
    RolloutState.ROLLING_BACK: RolloutState.ROLLED_BACK,
    RolloutState.CANCELLING: RolloutState.CANCELLED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a rollout is. `waiting` is how devices do that were not updated; `begun_lately` within a minute."""

    state: RolloutState
    wave: int
    counts: Counts
    expires_at: datetime
    wave_ended_at: datetime | None = None
    """When the last part of the waves so far ended."""
    waiting: Seen = _NOBODY
    begun_lately: int = 0
    forgiven: int = 0
    """Failures that were known when somebody let it go on all the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a rollout does now, and when to look again at the latest."""

    begin: int = 0
    """How many devices of the waves so far begin."""
    next_wave: bool = False
    becomes: RolloutState | None = None
    give_up_waiting: bool = False
    """Whether parts that wait are cancelled."""
    code: str = ""
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    look_at: datetime | None = None


def judge_rollout(progress: Progress, policy: Policy, now: datetime) -> Verdict:
    """Return what a rollout does now."""
    state = progress.state
    if state in _LEAVING:
        over = not progress.counts.active()
        return Verdict(becomes=_LEAVING[state] if over else None, give_up_waiting=True)
    if state.is_over:
        return Verdict()
    if state is not RolloutState.HALTED and (halt := _halt(progress, policy)) is not None:
        return halt
    if now >= progress.expires_at:
        return Verdict(
            becomes=RolloutState.CANCELLING,
            give_up_waiting=True,
            code="rollout.expired",
            reason="its time ended while devices still waited",
        )
    running = state is RolloutState.RUNNING
    return _go_on(progress, policy, now) if running else Verdict(look_at=progress.expires_at)


def _go_on(progress: Progress, policy: Policy, now: datetime) -> Verdict:
    counts = progress.counts
    if not counts.active():
        return Verdict(becomes=RolloutState.COMPLETED)
    waiting = counts.of(PartState.WAITING, up_to=progress.wave)
    if waiting:
        at = policy.may_begin_at(now)
        if at > now:
            return Verdict(look_at=min(at, progress.expires_at))
        allowed = waiting
        if policy.rate_per_minute is not None:
            allowed = min(waiting, max(policy.rate_per_minute - progress.begun_lately, 0))
        return Verdict(begin=allowed, look_at=now + _MINUTE if allowed < waiting else None)
    if counts.active(up_to=progress.wave) or not counts.of(PartState.WAITING):
        return Verdict()
    soaked_at = (progress.wave_ended_at or now) + timedelta(seconds=policy.soak_s)
    if now < soaked_at:
        return Verdict(look_at=soaked_at)
    return Verdict(next_wave=True)


def _halt(progress: Progress, policy: Policy) -> Verdict | None:
    counts, rules = progress.counts, policy.halt
    failed = max(counts.of(*BAD) - progress.forgiven, 0)
    if not failed:
        return None
    ended = failed + counts.of(PartState.SUCCEEDED)
    facts: dict[str, Any] = {"failed": failed, "ended": ended, "wave": progress.wave + 1}
    if rules.max_failures is not None and failed > rules.max_failures:
        reason = f"{failed} devices failed; {rules.max_failures} may"
        return _halted(policy, "rollout.too_many_failures", reason, facts)
    percent = 100 * failed / ended
    wave_is_over = not counts.active(up_to=progress.wave)
    if percent > rules.max_failure_percent and (ended >= rules.min_ended or wave_is_over):
        reason = f"{failed} of {ended} devices failed, {percent:.0f} %; {rules.max_failure_percent:g} % may"
        return _halted(policy, "rollout.too_many_failures", reason, facts)
    if not rules.sequential:
        return None
    found = compare(
        Seen(failed, ended),
        progress.waiting,
        false_halt_rate=rules.false_halt_rate,
        tolerated=rules.tolerated_percent / 100,
    )
    if not found.halts:
        return None
    reason = (
        f"{failed} of {ended} updated devices failed, where {100 * found.usual:.1f} % at most fail anyway "
        f"({progress.waiting.failed} of {progress.waiting.of} that wait)"
    )
    facts |= {"evidence": round(found.evidence, 1), "needed": found.needed, "usual": round(found.usual, 4)}
    facts |= {"waiting_failed": progress.waiting.failed, "waiting": progress.waiting.of}
    return _halted(policy, "rollout.fails_more_often", reason, facts)


def _halted(policy: Policy, code: str, reason: str, facts: dict[str, Any]) -> Verdict:
    back = policy.on_halt is OnHalt.ROLL_BACK
    becomes = RolloutState.ROLLING_BACK if back else RolloutState.HALTED
    return Verdict(becomes=becomes, give_up_waiting=back, code=code, reason=reason, facts=facts)


__all__ = ["ACTIVE", "Observation", "PartMove", "Progress", "Verdict", "judge_part", "judge_rollout"]
