"""What `iotistic agent` prints: services as they stand, and steps that are to be done."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from iotistic.agent.reporting.services import describe_apps
from iotistic.entrypoints.agent.assembly import Agent
from iotistic.entrypoints.output import emit
from iotistic.planning.steps import Noop, Step, name_of, subject_of

_SERVICE_COLUMNS = ("app", "service", "state", "status", "image", "container", "error")


def show(agent: Agent, *, json: bool) -> None:
    """Print how the services stand, and what is still to be done."""
    standing = agent.reconciler.standing
    facts = agent.record.facts(time.time(), locked=(), disk_is_full=False, shares_ports=False)
    apps = describe_apps(agent.reconciler.target, standing.current, facts)
    if json:
        emit({"apps": apps, "steps": [_told(step) for step in standing.steps]}, json=True)
        return
    rows = [
        {
            "app": described["appName"],
            "service": service["serviceName"],
            "state": service.get("state", "to go"),
            "status": service["status"],
            "image": service["imageName"],
            "container": service.get("containerId", "")[:12],
            "error": service.get("error", {}).get("message", ""),
        }
        for described in apps.values()
        for service in described["services"]
    ]
    emit(rows, json=False, columns=_SERVICE_COLUMNS, empty="no services")
    for step in standing.steps:
        told = _told(step)
        emit(f"{told['step']} {told['subject']}: {told['why']}", json=False)


def show_plan(steps: Iterable[Step], *, json: bool) -> None:
    """Print steps and why they are to be done."""
    emit(
        [_told(step) for step in steps],
        json=json,
        columns=("step", "subject", "why", "until"),
        empty="nothing is to be done",
    )


def _told(step: Step) -> dict[str, object]:
    if isinstance(step, Noop):
        until = None if step.until is None else datetime.fromtimestamp(step.until, UTC)
        return {"step": name_of(step), "subject": step.subject, "why": step.why, "until": until}
    return {"step": name_of(step), "subject": subject_of(step), "why": step.why, "until": None}
