"""How causes are recognised: small makers that the lists of causes are written with. Pure."""

from collections.abc import Callable
from datetime import datetime, timedelta

from iotistic.control.why.facts import Facts
from iotistic.control.why.model import Cause, Evidence, Record, said
from iotistic.control.why.port import About

Since = Callable[[Facts], datetime | None]

_SLACK = timedelta(seconds=5)
LIMITS_HOLD = timedelta(hours=24)
PASSED = frozenset({"pending", "registered", "retold", "ok"})


def ever(_facts: Facts) -> None:
    """Any time."""


def since_last_sign(facts: Facts) -> datetime | None:
    """Since the device was last heard of: what happened before did not keep it from speaking."""
    return facts.last_sign - _SLACK if facts.last_sign else None


def since_deployment(facts: Facts) -> datetime | None:
    """Since the target, or the draft that waits, was set."""
    if facts.target is None:
        return None
    times = [at for at in (facts.target.deployed_at, facts.target.draft_at) if at is not None]
    return min(times) - _SLACK


def since_yesterday(facts: Facts) -> datetime:
    """Within the last 24 hours."""
    return facts.now - LIMITS_HOLD


def told(record: Record) -> Evidence:
    """Return what a record tells as evidence."""
    return {**record.facts, "at": record.at, "record_id": record.id}


def switched_off(facts: Facts) -> Evidence | None:
    """Return who switched the device off, if it is."""
    if facts.device is None or facts.device.is_active or facts.device.is_awaited:
        return None
    noted = facts.more.get("lifecycle", {})
    is_known = noted.get("code") == "device.deactivated"
    how = f"by {noted['by']} on {said(noted['at'])}" if is_known else "by an operator"
    return {"name": facts.device.name, "how": how}


def recorded(
    about: About,
    code: str,
    sentence: str,
    fix: str,
    *,
    since: Since,
    leads_to: About | None = None,
    own: bool = False,
) -> Cause:
    """Return the cause that a decision with this code was written down; of all devices too, unless `own`."""

    def finds(facts: Facts) -> Evidence | None:
        found = facts.newest(code, since=since(facts), own=own)
        return told(found) if found else None

    return Cause(code=code, about=about, sentence=sentence, fix=fix, finds=finds, leads_to=leads_to)


def lost_together(code: str, sentence: str, fix: str) -> Cause:
    """Return the cause that something happened to all devices just when this one fell silent."""

    def finds(facts: Facts) -> Evidence | None:
        found = facts.newest(code, since=since_last_sign(facts))
        if found is None or facts.last_sign is None or found.at - facts.last_sign > facts.silent_after:
            return None
        return told(found)

    return Cause(code=code, about=About.OFFLINE, sentence=sentence, fix=fix, finds=finds)


def last_refusal(facts: Facts) -> tuple[str, Evidence] | None:
    """Return the newest refusal at the doors (its code and evidence) that nothing went well after."""
    refusals = [(one.at, one.outcome, {"at": one.at}) for one in facts.attempts if one.outcome not in PASSED]
    refusals += [
        (one.at, one.code, told(one)) for one in facts.records if one.source == "provisioning" and one.device
    ]
    if not refusals:
        return None
    at, code, evidence = max(refusals, key=lambda one: (one[0], "record_id" in one[2]))
    passed = [one.at for one in facts.attempts if one.outcome in PASSED - {"pending"}]
    is_over = any(later > at for later in (*passed, facts.last_sign) if later is not None)
    return None if is_over else (code, evidence)


def refused_at_the_door(code: str, sentence: str, fix: str) -> Cause:
    """Return the cause that the device's last try to become known, or to prove itself, was refused with this code."""

    def finds(facts: Facts) -> Evidence | None:
        refusal = last_refusal(facts)
        return refusal[1] if refusal and refusal[0] == code else None

    return Cause(code=code, about=About.OFFLINE, sentence=sentence, fix=fix, finds=finds)
