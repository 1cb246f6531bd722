"""Why a device was rolled back: the causes, the nearest first. Pure."""

from iotistic.control.why.facts import Facts
from iotistic.control.why.finding import recorded, since_deployment, told
from iotistic.control.why.model import Cause, Evidence
from iotistic.control.why.port import About
from iotistic.control.why.update_findings import other_images, service_errors

_ROLLED_BACK = About.ROLLED_BACK


def _by_operator(facts: Facts) -> Evidence | None:
    found = facts.newest("rollback.by_operator", own=True)
    if found is None or facts.target is None or found.facts.get("version") != facts.target.version:
        return None  # a newer target has been deployed since
    return told(found)


def _by_device(facts: Facts) -> Evidence | None:
    others = other_images(facts)
    report, target = facts.report, facts.target
    if not others or report is None or target is None or (report.version or 0) < target.version:
        return None
    name, image = next(iter(others.items()))
    reasons = {
        str(one.get("serviceName")): str(error.get("message", ""))[:200]
        for one, error in service_errors(facts)
    }
    return {
        "service": name,
        "running": image,
        "image": target.images[name],
        "reason": reasons.get(name) or "it did not become healthy",
        "at": report.at,
    }


def _same_as_older(facts: Facts) -> Evidence | None:
    target = facts.target
    if target is None or target.same_as_version is None:
        return None
    return {
        "version": target.version, "older": target.same_as_version, "by": target.deployed_by, "at": target.deployed_at
    }  # fmt: skip


def _never(facts: Facts) -> Evidence | None:
    return {"version": facts.target.version if facts.target else None}


CAUSES: tuple[Cause, ...] = (
    recorded(
        _ROLLED_BACK,
        "rollout.rolled_back",
        "The rollout {rollout} took version {to_version} back on {at}: {reason}.",
        "Mend the release; what the rollout saw is in GET /rollouts/{rollout}.",
        since=since_deployment,
        own=True,
    ),
    recorded(
        _ROLLED_BACK,
        "rollout.stopped",
        "The rollout {rollout} was stopped on {at}: {reason}.",
        "GET /rollouts/{rollout}/events tells what it saw; begin a newer rollout once that is mended.",
        since=since_deployment,
        own=True,  # of a whole rollout, so it is met as the reason of what was taken back, never by itself
    ),
    recorded(
        _ROLLED_BACK,
        "rollout.canary_unhealthy",
        "The canaries of the rollout {rollout} did worse than the others ({reason}), so all of it was taken back.",
        "Mend the release and begin a newer rollout.",
        since=since_deployment,
    ),
    Cause(
        code="rollback.by_operator",
        about=_ROLLED_BACK,
        sentence="{by} went back to version {to_version} on {at}; that content is now version {version}.",
        fix="Ask {by} why; deploy another target to go on.",
        finds=_by_operator,
    ),
    recorded(
        _ROLLED_BACK,
        "rollback.by_licence",
        "The licence no longer allows what it had ({feature}), so it was taken out on {at}.",
        "Renew the licence, or choose a plan with this feature.",
        since=since_deployment,
    ),
    Cause(
        code="rollback.by_device",
        about=_ROLLED_BACK,
        sentence="The device went back by itself: {service} runs {running} in the place of {image}, because {reason}.",
        fix="Mend the image {image} and deploy again; it is not tried again as it is.",
        finds=_by_device,
    ),
    recorded(
        _ROLLED_BACK,
        "rollback.draft_cancelled",
        "The draft was cancelled by {by} on {at}: it never came into force.",
        "Set the target again.",
        since=since_deployment,
        own=True,
    ),
    Cause(
        code="rollback.same_as_older",
        about=_ROLLED_BACK,
        sentence="Version {version}, deployed by {by} on {at}, has the content of version {older}.",
        fix="Ask {by} why.",
        finds=_same_as_older,
    ),
    Cause(
        code="rollback.none",
        about=_ROLLED_BACK,
        sentence="It was not rolled back: version {version} is the newest that it ever had.",
        fix="Nothing is to be done.",
        finds=_never,
        is_normal=True,
    ),
)
