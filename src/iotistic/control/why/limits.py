"""What limits a device met within the last day: the causes, the hardest first. Pure."""

from iotistic.control.why.facts import Facts
from iotistic.control.why.finding import LIMITS_HOLD, last_refusal, recorded, since_yesterday
from iotistic.control.why.model import Cause, Evidence
from iotistic.control.why.port import About

_LIMITED = About.LIMITED
_MOST_REPORT = 4 * 1024 * 1024


def _at_the_door(code: str) -> "_Door":
    return _Door(code)


class _Door:
    """Finds a refusal at the doors, written down as a decision or as an attempt."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __call__(self, facts: Facts) -> Evidence | None:
        refusal = last_refusal(facts)
        if refusal and refusal[0] == self._code:
            return refusal[1]
        return None


def _door(code: str, sentence: str, fix: str) -> Cause:
    return Cause(code=code, about=_LIMITED, sentence=sentence, fix=fix, finds=_at_the_door(code))


def _limit(code: str, sentence: str, fix: str) -> Cause:
    return recorded(_LIMITED, code, sentence, fix, since=since_yesterday)


def _report_is_large(facts: Facts) -> Evidence | None:
    size = facts.more.get("report", {}).get("bytes")
    if not isinstance(size, int) or size < 0.9 * _MOST_REPORT:
        return None
    return {"percent": round(100 * size / _MOST_REPORT)}


def _key_is_due(facts: Facts) -> Evidence | None:
    due = facts.keys.newest_due_at if facts.keys else None
    return {"at": due} if due and due < facts.now else None


def _none(_facts: Facts) -> Evidence | None:
    return {"hours": LIMITS_HOLD.total_seconds() / 3600}


CAUSES: tuple[Cause, ...] = (
    _door(
        "plan.device_limit",
        "The plan allows {limit} devices, and all of them are there: it was not let in.",
        "Remove a device that is not needed, or choose a larger plan.",
    ),
    _limit(
        "licence.unlicensed",
        "The installation has no valid licence, which allows {limit} devices.",
        "Set IOTISTIC_LICENSE_KEY.",
    ),
    _limit(
        "licence.expired",
        "The licence expired on {expired_at}.",
        "Renew it; until then the limits of no licence hold.",
    ),
    _limit(
        "licence.feature_missing",
        "The plan does not have the feature {feature}, which it asked for on {at}.",
        "Choose a plan that has it.",
    ),
    _door(
        "provisioning.key_used_up",
        "Its provisioning key let in as many devices as it may.",
        "Make a key with more uses.",
    ),
    _door(
        "provisioning.too_many_attempts",
        "Its address tried to register too often and has to wait.",
        "Wait for the hour to end, or raise PROVISIONING_ATTEMPTS_PER_WINDOW where many devices share an address.",
    ),
    _limit(
        "device.rotated_too_often",
        "It asked for new API keys more than {limit} times in an hour.",
        "Its disk may not keep the key; look at the agent's log. DEVICE_ROTATIONS_PER_HOUR is the limit.",
    ),
    _limit(
        "state.report_too_large",
        "What it reports is more than 4 MiB altogether; its report of {at} was refused.",
        "Find the field that grows: GET /devices/UUID/current-state.",
    ),
    _limit(
        "state.target_too_large",
        "The target that was set on {at} has more than {limit} bytes.",
        "Take files and tables out of the target; give their address in its place.",
    ),
    _limit(
        "request.body_too_large",
        "It sent a body of more than {limit} bytes on {at}.",
        "Send less at a time: smaller batches of logs or readings.",
    ),
    _limit(
        "job.too_many", "It has {limit} jobs waiting, and takes no more.", "Wait for them, or cancel some."
    ),
    _limit(
        "broker.quota",
        "The broker throttled it: more than {limit} messages waiting.",
        "Send fewer messages, or larger batches.",
    ),
    _limit(
        "broker.acl_denied",
        "The broker did not let it use the topic {topic} on {at}.",
        "Give its MQTT user an ACL for it, or correct the topic.",
    ),
    _limit(
        "telemetry.rate_limited",
        "It sent more than {limit} readings a second; {dropped} were put off.",
        "Publish less often, or raise its quota.",
    ),
    _limit(
        "logs.quota",
        "It sent more than {limit} bytes of logs a day; the rest was left out.",
        "Log less, or raise the quota.",
    ),
    _limit("vpn.no_address", "The VPN has no address left for it.", "Widen the VPN's range of addresses."),
    Cause(
        code="state.report_nearly_full",
        about=_LIMITED,
        sentence="What it reports takes {percent} % of the 4 MiB that are kept.",
        fix="Find the field that grows before its reports are refused.",
        finds=_report_is_large,
    ),
    Cause(
        code="device.key_due",
        about=_LIMITED,
        sentence="Its API key was due to be replaced on {at}; it is still taken.",
        fix="Update the agent, or let it rotate: POST /device/UUID/rotate-key.",
        finds=_key_is_due,
    ),
    Cause(
        code="limits.none",
        about=_LIMITED,
        sentence="It met no limit within the last {hours} hours.",
        fix="Nothing is to be done.",
        finds=_none,
        is_normal=True,
    ),
)
