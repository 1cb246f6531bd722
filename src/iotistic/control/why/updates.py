"""Why a device does not do what its newest target says: the causes, the nearest first. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast

from iotistic.control.why.facts import Facts
from iotistic.control.why.finding import recorded, since_deployment, switched_off, told
from iotistic.control.why.model import Cause, Evidence
from iotistic.control.why.port import About

_NOT_UPDATED = About.NOT_UPDATED
_JUST_NOW, _LONG = timedelta(minutes=3), timedelta(minutes=15)
_PULL = frozenset({"ErrImagePull", "ImagePullBackOff"})


def _unknown(facts: Facts) -> Evidence | None:
    return {"uuid": facts.uuid} if facts.device is None else None


def _never_set(facts: Facts) -> Evidence | None:
    target = facts.target
    is_first = target is None or (target.version == 1 and target.draft_at is None)
    return {"uuid": facts.uuid} if facts.device and is_first else None


def _draft_waits(facts: Facts) -> Evidence | None:
    target = facts.target
    if target is None or target.draft_at is None:
        return None
    return {"at": target.draft_at, "by": target.draft_by, "version": target.version}


def _reports_it(facts: Facts) -> bool:
    """Whether the device said that it works on the newest target."""
    target, report = facts.target, facts.report
    return bool(target and report and report.version is not None and report.version >= target.version)


def _in_force(facts: Facts) -> Evidence | None:
    if not _reports_it(facts) or facts.report is None or facts.target is None:
        return None
    if _pending(facts) or service_errors(facts) or other_images(facts):
        return None
    return {"version": facts.target.version, "at": facts.report.at}


def service_errors(facts: Facts) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return services that are at fault, each with what the device tells of it."""
    return [
        (service, cast("Mapping[str, Any]", service["error"]))
        for service in facts.services
        if isinstance(service.get("error"), dict)
    ]


def _pending(facts: Facts) -> list[str]:
    return [str(one.get("serviceName")) for one in facts.services if one.get("serviceStatus") == "pending"]


def other_images(facts: Facts) -> dict[str, str]:
    """Return services, by name with their image, that run another image than they should."""
    wanted = facts.images
    return {
        name: str(one.get("imageName"))
        for one in facts.services
        if (name := str(one.get("serviceName"))) in wanted and one.get("imageName") != wanted[name]
    }


def _failing(kinds: frozenset[str], look: str = "") -> Callable[[Facts], Evidence | None]:
    """Return what finds a service with an error of these types whose message looks so."""
    pattern = re.compile(look, re.IGNORECASE)

    def finds(facts: Facts) -> Evidence | None:
        for service, error in service_errors(facts):
            message = str(error.get("message", ""))
            if error.get("type") in kinds and pattern.search(message):
                return {
                    "service": service.get("serviceName"),
                    "image": facts.images.get(str(service.get("serviceName")), service.get("imageName")),
                    "message": message[:200],
                    "times": error.get("retryCount"),
                }
        return None

    return finds


def _reported_list(*names: str) -> Callable[[Facts], Evidence | None]:
    def finds(facts: Facts) -> Evidence | None:
        for name in names:
            value = facts.fields.get(name)
            if isinstance(value, list) and value:
                return {"reasons": [str(one)[:200] for one in cast("list[object]", value)[:5]]}
            if isinstance(value, str) and value:
                return {"reasons": value[:200]}
        return None

    return finds


def _offline(facts: Facts) -> Evidence | None:
    if facts.device is None or facts.is_online:
        return None
    return {"last_sign": facts.last_sign, "version": facts.target.version if facts.target else None}


def _just_deployed(facts: Facts) -> Evidence | None:
    target = facts.target
    if target is None or _reports_it(facts) or facts.now - target.deployed_at > _JUST_NOW:
        return None
    return {"at": target.deployed_at, "version": target.version}


def _not_fetched(facts: Facts) -> Evidence | None:
    target, report = facts.target, facts.report
    if target is None or _reports_it(facts):
        return None
    return {
        "version": target.version,
        "at": target.deployed_at,
        "reported_version": report.version if report else None,
    }


def _not_ready(facts: Facts) -> Evidence | None:
    for one in facts.services:
        if one.get("health") in ("failed", "not-ready"):
            return {"service": one.get("serviceName"), "health": one.get("health")}
    return None


def _working(facts: Facts) -> Evidence | None:
    target, pending = facts.target, _pending(facts)
    if target is None or not pending or facts.now - target.deployed_at > _LONG:
        return None
    return {"services": pending[:5], "at": target.deployed_at}


def _stuck(facts: Facts) -> Evidence | None:
    pending = _pending(facts)
    return {"services": pending[:5], "at": facts.target.deployed_at} if pending and facts.target else None


def _fell_back(facts: Facts) -> Evidence | None:
    others = other_images(facts)
    for name, image in others.items():
        return {
            "service": name,
            "running": image,
            "image": facts.images[name],
        }
    return None


def _stale(facts: Facts) -> Evidence | None:
    """Return a refusal to change the target itself since it was set."""
    found = facts.newest(
        "state.target_invalid", "state.target_too_large", since=since_deployment(facts), own=True
    )
    return told(found) if found else None


def _nothing_tells(facts: Facts) -> Evidence | None:
    return {"uuid": facts.uuid}


def _cause(
    code: str, sentence: str, fix: str, finds: Callable[[Facts], Evidence | None], **more: Any
) -> Cause:
    return Cause(code=code, about=_NOT_UPDATED, sentence=sentence, fix=fix, finds=finds, **more)


def _rollout(code: str, sentence: str, fix: str, *, state: str = "") -> Cause:
    """Return the cause that a rollout decided so, or that the device waits in one of this state."""

    def finds(facts: Facts) -> Evidence | None:
        part = facts.more.get("rollout", {})
        if state and part.get("state") == "waiting" and part.get("rollout_state") == state:
            return {**part, "reason": part.get("halt_reason") or "a rule stopped it"}
        found = facts.newest(f"rollout.{code}", since=since_deployment(facts), own=True)
        return told(found) if found else None

    return _cause(f"rollout.{code}", sentence, fix, finds)


_ROLLOUTS = (
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

CAUSES: tuple[Cause, ...] = (
    _cause(
        "device.unknown",
        "The cloud knows no such device.",
        "Register it.",
        _unknown,
        leads_to=About.OFFLINE,
    ),
    _cause(
        "device.inactive",
        "The device {name} was switched off {how}: it is given no target.",
        "Switch it on again.",
        switched_off,
    ),
    recorded(
        _NOT_UPDATED,
        "licence.update_refused",
        "The licence does not allow this update: {reason}.",
        "Renew the licence, or choose a plan with this feature.",
        since=since_deployment,
    ),
    *_ROLLOUTS,
    _cause(
        "state.target_refused",
        "The newest change of its target was refused on {at}: {message}.",
        "Correct what it names and set the target again.",
        _stale,
    ),
    _cause(
        "state.draft_waits",
        "A target was set on {at} by {by} and not deployed: version {version} is still in force.",
        "Deploy it, or cancel the draft.",
        _draft_waits,
    ),
    _cause(
        "state.never_set",
        "Nobody has set a target for it.",
        "Set one and deploy it.",
        _never_set,
        is_normal=True,
    ),
    _cause(
        "state.in_force",
        "It is updated: it reported version {version} with every service as it should be, on {at}.",
        "Nothing is to be done.",
        _in_force,
        is_normal=True,
    ),
    _cause(
        "device.offline",
        "It is offline since {last_sign} and has not got version {version}.",
        "It gets the target as soon as it is back.",
        _offline,
        leads_to=About.OFFLINE,
    ),
    _cause(
        "target.refused_by_device",
        "The device refuses the target: {reasons}.",
        "Correct what it names and deploy again.",
        _reported_list("targetRefused", "target_refused"),
    ),
    _cause(
        "engine.away",
        "The container engine on the device does not answer: {reasons}.",
        "On the device: start Docker (systemctl start docker), or look at its disk.",
        _reported_list("engineAway", "engine_away"),
    ),
    _cause(
        "image.disk_full",
        "The image {image} of {service} does not fit on the device's disk: {message}",
        "Free space on the device, or use a smaller image.",
        _failing(_PULL | {"StartFailure"}, r"no space left|disk (is )?full|disk quota"),
    ),
    _cause(
        "image.denied",
        "The registry does not let the device have the image {image} of {service}: {message}",
        "Log the device's engine in at the registry, or make the image public.",
        _failing(_PULL, r"denied|unauthori[sz]ed|authentication required|forbidden|\b401\b|\b403\b"),
    ),
    _cause(
        "image.not_found",
        "There is no image {image}, which {service} is to run: {message}",
        "Correct its name or tag, or push it.",
        _failing(_PULL, r"not found|manifest unknown|no such image|does not exist|\b404\b|name unknown"),
    ),
    _cause(
        "image.rate_limited",
        "The registry gives no more images for now: {message}",
        "Wait, log in at the registry, or use a mirror.",
        _failing(_PULL, r"toomanyrequests|rate limit|too many requests|\b429\b"),
    ),
    _cause(
        "image.wrong_platform",
        "The image {image} was not built for this kind of processor: {message}",
        "Build it for the device's platform too.",
        _failing(
            _PULL | {"StartFailure", "CrashLoopBackOff"},
            r"no match.* platform|exec format error|platform .*does not match",
        ),
    ),
    _cause(
        "image.registry_unreachable",
        "The device does not reach the registry of {image}: {message}",
        "Look at its network, its name service and its proxy.",
        _failing(
            _PULL,
            r"time-?d? ?out|timeout|refused|unreachable|no such host|dns|resolv|reset|tls|certificate|eof",
        ),
    ),
    _cause(
        "image.pull_failed",
        "The image {image} of {service} cannot be fetched ({times} tries): {message}",
        "Read the message; try `docker pull` on the device.",
        _failing(_PULL),
    ),
    _cause(
        "start.port_taken",
        "{service} cannot start, its port is taken: {message}",
        "Choose another port, or stop what has it.",
        _failing(
            frozenset({"StartFailure"}), r"port is already allocated|address already in use|port .*taken"
        ),
    ),
    _cause(
        "start.mount_refused",
        "{service} cannot start, a volume cannot be mounted: {message}",
        "Correct the path, or make it on the device.",
        _failing(frozenset({"StartFailure"}), r"mount|bind source path"),
    ),
    _cause(
        "start.command_missing",
        "{service} cannot start, its command is not in the image: {message}",
        "Correct the command, or the image.",
        _failing(
            frozenset({"StartFailure"}),
            r"executable file not found|no such file or directory|not found in \$PATH",
        ),
    ),
    _cause(
        "start.failed",
        "{service} cannot be started ({times} tries): {message}",
        "Read the message; the container's settings are in the target.",
        _failing(frozenset({"StartFailure"})),
    ),
    _cause(
        "service.out_of_memory",
        "{service} was ended because it took more memory than it may ({times} times).",
        "Raise its memory limit, or mend what takes it.",
        _failing(frozenset({"CrashLoopBackOff"}), r"out of memory|oom|\b137\b"),
    ),
    _cause(
        "service.probe_failed",
        "{service} is started again and again because its liveness probe fails: {message}",
        "Mend the service, or give the probe more time.",
        _failing(frozenset({"CrashLoopBackOff"}), r"probe|liveness|unhealthy"),
    ),
    _cause(
        "service.crashes",
        "{service} ends by itself again and again ({times} times): {message}",
        "Read its log.",
        _failing(frozenset({"CrashLoopBackOff"})),
    ),
    recorded(
        _NOT_UPDATED,
        "reconcile.lock_held",
        "The app {app} holds its update lock.",
        "Wait until it lets go, or deploy with force.",
        since=since_deployment,
        own=True,
    ),
    _cause(
        "target.just_deployed",
        "Version {version} was deployed on {at}, moments ago.",
        "Wait for the device's next poll: a minute.",
        _just_deployed,
        is_normal=True,
    ),
    _cause(
        "target.not_fetched",
        "It reports, and works on version {reported_version}: it has not taken version {version} of {at}.",
        "Look at its polls: the agent's log tells what GET /device/UUID/state answers.",
        _not_fetched,
    ),
    _cause(
        "service.not_ready",
        "{service} runs and is not ready ({health}), so the former one goes on serving.",
        "Look at its readiness probe and its log.",
        _not_ready,
    ),
    _cause(
        "update.in_progress",
        "It is at work: {services} not ready yet; the target was deployed on {at}.",
        "Wait some minutes; the device does one step after the other.",
        _working,
        is_normal=True,
    ),
    _cause(
        "update.stuck",
        "{services} still pending, though the target was deployed on {at}.",
        "On the device: `iotctl plan` says what it waits for.",
        _stuck,
    ),
    _cause(
        "update.fell_back",
        "{service} runs {running} in the place of {image}: the device went back to what worked.",
        "Ask why it was rolled back.",
        _fell_back,
        leads_to=About.ROLLED_BACK,
    ),
    _cause("update.unknown", "Nothing tells why.", "Look at the device: `iotctl status`.", _nothing_tells),
)
