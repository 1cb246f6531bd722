"""What a rollout has to do with a device that is not updated. Pure."""

from iotistic.control.why.facts import Facts
from iotistic.control.why.finding import since_deployment, told
from iotistic.control.why.model import Cause, Evidence
from iotistic.control.why.update_findings import cause


def _rollout(code: str, sentence: str, fix: str, *, state: str = "") -> Cause:
    """Return the cause that a rollout decided so, or that the device waits in one of this state."""

    def finds(facts: Facts) -> Evidence | None:
        part = facts.more.get("rollout", {})
        if state and part.get("state") == "waiting" and part.get("rollout_state") == state:
            return {**part, "reason": part.get("halt_reason") or "a rule stopped it"}
        found = facts.newest(f"rollout.{code}", since=since_deployment(facts), own=True)
        return told(found) if found else None

    return cause(f"rollout.{code}", sentence, fix, finds)


ROLLOUT_CAUSES: tuple[Cause, ...] = (
    _rollout(
        "halted",
        "The rollout {rollout} was halted before this device's turn: {reason}.",
        "Mend what it stopped for, then resume it or begin a newer one.",
        state="halted",
    ),
    _rollout(
        "paused", "The rollout {rollout} was paused before this device's turn.", "Resume it.", state="paused"
    ),
    _rollout(
        "window_closed",
        "The rollout {rollout} works between {opens} and {closes} only.",
        "Wait for the window, or widen it.",
    ),
    _rollout(
        "waiting",
        "The rollout {rollout} has not come to this device yet: it is in wave {wave}, the rollout at wave {at_wave}.",
        "Wait, or raise the rollout's rate; devices begin within the rollout's windows only.",
        state="running",
    ),
    _rollout(
        "cancelled",
        "The rollout {rollout} was cancelled before this device's turn: {reason}.",
        "Begin another one.",
        state="cancelling",
    ),
    _rollout(
        "superseded",
        "The device was taken out of the rollout {rollout} on {at}: {reason}.",
        "Look at what took its place: GET /rollouts.",
    ),
    _rollout(
        "deadline_passed",
        "The device did not come to the rollout's end in time, and was left out on {at}: {reason}.",
        "Ask why it is offline; then include it in a newer rollout.",
    ),
    _rollout(
        "device_failed",
        "The device failed in the rollout {rollout} on {at}: {reason}.",
        "Mend what failed; then include it in a newer rollout.",
    ),
    _rollout(
        "plan_refused",
        "The planner refuses the target on this device: {reason}.",
        "Change what it refuses in the target, or leave the device out.",
    ),
    _rollout(
        "excluded",
        "The rollout {rollout} leaves this device out: {reason}.",
        "Widen the rollout's selection.",
    ),
)
