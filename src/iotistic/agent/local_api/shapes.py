"""What the device API answers with. Keys are camelCase, as in target states and reports; times ISO 8601 in UTC."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from iotistic.agent.jobs.model import JobExecution
from iotistic.agent.local_api.ports import Parts
from iotistic.agent.local_config.config import Change, Setting
from iotistic.agent.operations.outcome import Outcome
from iotistic.agent.reporting.services import describe_apps, written_id
from iotistic.planning.model import Health
from iotistic.planning.steps import Action, Noop, Step, name_of, subject_of


def iso(at: float | None) -> str | None:
    """Return a time in seconds since 1970 as text."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def apps(parts: Parts) -> dict[str, Any]:
    """Return all apps with their services, by id; where a wish is in force, also what the cloud wants.

    `health` is there where probes ask: starting, ready, not-ready, failed.
    """
    operations = parts.operations
    described = describe_apps(operations.target, parts.loop.standing.current, parts.facts())
    states = {one.key: one.state for app in operations.base.apps for one in app.services}
    wished = {
        (str(key.app_id), str(key.service_id)): (wish, states.get(key))
        for key, wish in operations.wishes.items()
    }
    health = {one.id: one.health for one in parts.loop.standing.current.containers}
    for app_id, app in described.items():
        for service in app["services"]:
            if (said := health.get(service.get("containerId", ""), Health.UNKNOWN)) is not Health.UNKNOWN:
                service["health"] = str(said)
            found = wished.get((app_id, str(service["serviceId"])))
            if found is not None:
                wish, state = found
                service |= {
                    "state": str(wish.state),
                    "cloudState": str(state),
                    "isRestarting": wish.is_restarting,
                }
    return described


def services(parts: Parts, app_id: str | None = None) -> list[dict[str, Any]]:
    """Return all services, or those of one app, each with its app."""
    return [
        {"appId": app["appId"], "appName": app["appName"], **service}
        for found_id, app in apps(parts).items()
        if app_id in (None, found_id)
        for service in app["services"]
    ]


def standing(parts: Parts) -> dict[str, Any]:
    """Return how far the device is."""
    now = parts.loop.standing
    is_settled = now.settled_at is not None and not now.engine_away
    return {
        "settled": is_settled,
        "settledAt": iso(now.settled_at) if is_settled else None,
        "engine": parts.engine,
        "engineAway": now.engine_away or None,
        "targetRefused": list(parts.refused()),
    }


def plan(parts: Parts) -> dict[str, Any]:
    """Return what is under way, what is to be done next, and what is waited for."""
    under_way = parts.loop.under_way
    steps = [*under_way, *(step for step in parts.loop.standing.steps if step not in under_way)]
    return {
        **standing(parts),
        "steps": [{**_step(step), "underWay": step in under_way} for step in steps],
        "wishes": [
            {
                "appId": written_id(key.app_id),
                "serviceId": written_id(key.service_id),
                "state": str(wish.state),
                "isRestarting": wish.is_restarting,
            }
            for key, wish in sorted(parts.operations.wishes.items())
        ],
    }


def outcome(found: Outcome) -> dict[str, Any]:
    """Return what came of an operation."""
    return {
        "status": "ok" if found.done else "pending",
        "done": found.done,
        "services": [
            {
                "appId": written_id(one.app_id),
                "appName": one.app_name or one.app_id,
                "serviceId": written_id(one.service_id),
                "serviceName": one.name,
                "state": str(one.wanted),
                "status": one.status,
                "containerId": one.container_id,
            }
            for one in found.services
        ],
        "waiting": list(found.waiting),
        "tookSeconds": found.took_s,
    }


def setting(found: Setting) -> dict[str, Any]:
    """Return one setting."""
    return {
        "name": found.option.name,
        "value": found.value,
        "source": str(found.source),
        "type": found.option.kind,
        "default": found.option.default,
        "needsRestart": found.needs_restart,
        "summary": found.option.summary,
    }


def settings(found: Iterable[Setting]) -> dict[str, Any]:
    """Return settings by name."""
    return {"config": {one.option.name: setting(one) for one in found}}


def change(found: Change) -> dict[str, Any]:
    """Return what a change of settings did."""
    return {"status": "ok", "changed": list(found.changed), "needsRestart": list(found.needs_restart)}


def job(found: JobExecution) -> dict[str, Any]:
    """Return one execution of a job."""
    return {
        "jobId": found.job_id,
        "executionNumber": found.number,
        "jobName": found.name,
        "status": str(found.status),
        "reason": found.reason or None,
        "receivedAt": iso(found.received_at),
        "startedAt": iso(found.started_at),
        "finishedAt": iso(found.finished_at),
        "step": found.step or None,
        "executedSteps": found.executed_steps,
        "failedStep": found.failed_step or None,
        "exitCode": found.exit_code,
        "runs": found.runs,
        "nextRunAt": iso(found.next_run_at),
    }


def _step(step: Step | Action) -> dict[str, Any]:
    subject = step.subject if isinstance(step, Noop) else subject_of(step)
    until = iso(step.until) if isinstance(step, Noop) else None
    return {"step": name_of(step), "subject": subject, "why": step.why, "until": until}
