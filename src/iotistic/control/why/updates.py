"""Why a device does not do what its newest target says: the causes, the nearest first. Pure."""

from iotistic.control.why.finding import recorded, since_deployment, switched_off
from iotistic.control.why.model import Cause
from iotistic.control.why.port import About
from iotistic.control.why.update_findings import (
    cause,
    draft_waits,
    fell_back,
    in_force,
    just_deployed,
    never_set,
    not_fetched,
    not_ready,
    nothing_tells,
    offline,
    reported_list,
    stale,
    stuck,
    unknown,
    working,
)
from iotistic.control.why.update_rollouts import ROLLOUT_CAUSES
from iotistic.control.why.update_services import SERVICE_CAUSES

CAUSES: tuple[Cause, ...] = (
    cause(
        "device.unknown",
        "The cloud knows no such device.",
        "Register it.",
        unknown,
        leads_to=About.OFFLINE,
    ),
    cause(
        "device.inactive",
        "The device {name} was switched off {how}: it is given no target.",
        "Switch it on again.",
        switched_off,
    ),
    recorded(
        About.NOT_UPDATED,
        "licence.update_refused",
        "The licence does not allow this update: {reason}.",
        "Renew the licence, or choose a plan with this feature.",
        since=since_deployment,
    ),
    *ROLLOUT_CAUSES,
    cause(
        "state.target_refused",
        "The newest change of its target was refused on {at}: {message}.",
        "Correct what it names and set the target again.",
        stale,
    ),
    cause(
        "state.draft_waits",
        "A target was set on {at} by {by} and not deployed: version {version} is still in force.",
        "Deploy it, or cancel the draft.",
        draft_waits,
    ),
    cause(
        "state.never_set",
        "Nobody has set a target for it.",
        "Set one and deploy it.",
        never_set,
        is_normal=True,
    ),
    cause(
        "state.in_force",
        "It is updated: it reported version {version} with every service as it should be, on {at}.",
        "Nothing is to be done.",
        in_force,
        is_normal=True,
    ),
    cause(
        "device.offline",
        "It is offline since {last_sign} and has not got version {version}.",
        "It gets the target as soon as it is back.",
        offline,
        leads_to=About.OFFLINE,
    ),
    cause(
        "target.refused_by_device",
        "The device refuses the target: {reasons}.",
        "Correct what it names and deploy again.",
        reported_list("targetRefused", "target_refused"),
    ),
    cause(
        "engine.away",
        "The container engine on the device does not answer: {reasons}.",
        "On the device: start Docker (systemctl start docker), or look at its disk.",
        reported_list("engineAway", "engine_away"),
    ),
    *SERVICE_CAUSES,
    recorded(
        About.NOT_UPDATED,
        "reconcile.lock_held",
        "The app {app} holds its update lock.",
        "Wait until it lets go, or deploy with force.",
        since=since_deployment,
        own=True,
    ),
    cause(
        "target.just_deployed",
        "Version {version} was deployed on {at}, moments ago.",
        "Wait for the device's next poll: a minute.",
        just_deployed,
        is_normal=True,
    ),
    cause(
        "target.not_fetched",
        "It reports, and works on version {reported_version}: it has not taken version {version} of {at}.",
        "Look at its polls: the agent's log tells what GET /device/UUID/state answers.",
        not_fetched,
    ),
    cause(
        "service.not_ready",
        "{service} runs and is not ready ({health}), so the former one goes on serving.",
        "Look at its readiness probe and its log.",
        not_ready,
    ),
    cause(
        "update.in_progress",
        "It is at work: {services} not ready yet; the target was deployed on {at}.",
        "Wait some minutes; the device does one step after the other.",
        working,
        is_normal=True,
    ),
    cause(
        "update.stuck",
        "{services} still pending, though the target was deployed on {at}.",
        "On the device: `iotctl plan` says what it waits for.",
        stuck,
    ),
    cause(
        "update.fell_back",
        "{service} runs {running} in the place of {image}: the device went back to what worked.",
        "Ask why it was rolled back.",
        fell_back,
        leads_to=About.ROLLED_BACK,
    ),
    cause("update.unknown", "Nothing tells why.", "Look at the device: `iotctl status`.", nothing_tells),
)
