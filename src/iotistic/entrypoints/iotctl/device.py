"""`iotctl status`, `diagnostics`, `plan`, `restart` and `version`."""

import platform
from importlib import metadata

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import tell_services
from iotistic.entrypoints.iotctl.client import Document, ask
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import IotisticError

_SERVICE_COLUMNS = ("app", "service", "state", "status", "image", "error")
_UNWELL = ("not-ready", "failed")
_STEP_COLUMNS = ("step", "subject", "why", "now", "until")


def status(*, json: AsJson = False) -> int:
    """Say whether the agent works, what the device is, and how its services stand; 1 when they are not well."""
    device = ask("GET", "/v1/device")
    services = ask("GET", "/v1/services")["services"]
    refused: list[str] = device.get("targetRefused") or []
    well = not refused and not device["engineAway"] and not any(_ails(one) for one in services)
    if json:
        emit({"healthy": well, "device": device, "services": services}, json=True)
        return int(not well)
    emit(
        {
            "device": device["deviceName"],
            "uuid": device["uuid"],
            "provisioned": device["provisioned"],
            "cloud": _cloud(device),
            "agent": device["agentVersion"],
            "engine": f"{device['engine']}, away: {device['engineAway']}"
            if device["engineAway"]
            else device["engine"],
            "settled": device["settled"] if well else "no, see `iotctl plan`",
        },
        json=False,
    )
    tell_services(services, _SERVICE_COLUMNS)
    for fault in refused:
        emit(f"the newest target is not in force: {fault}", json=False)
    return int(not well)


def diagnostics(*, json: AsJson = False) -> None:
    """Show everything that helps to find a fault."""
    found = ask("GET", "/v2/diagnostics")
    if json:
        emit(found, json=True)
        return
    emit(
        {name: found[name] for name in ("agentVersion", "engine", "engineAway", "settled", "settledAt")},
        json=False,
    )
    tell_services(found["services"], _SERVICE_COLUMNS)
    _show_steps(found)
    for name, said in {**found["parts"], "machine": _figures(found["machine"])}.items():
        emit(f"\n{name}:", json=False)
        emit(said, json=False)


def plan(*, json: AsJson = False) -> None:
    """Say what the agent does now, what it will do next, and why."""
    found = ask("GET", "/v2/plan")
    if json:
        emit(found, json=True)
        return
    if found["engineAway"]:
        emit(f"the container engine does not answer: {found['engineAway']}", json=False)
    _show_steps(found)


def restart(*, json: AsJson = False) -> None:
    """Start the agent anew; containers go on."""
    found = ask("POST", "/v1/agent/restart", body={})
    emit(found if json else "the agent starts anew", json=json)


def version(*, json: AsJson = False) -> None:
    """Print the versions of iotctl and of the agent."""
    versions: Document = {"iotctl": own_version(), "python": platform.python_version(), "agent": None}
    try:
        versions["agent"] = ask("GET", "/v2/version")["version"]
    except IotisticError as exc:
        versions["agent_error"] = exc.message
    emit(versions, json=json)


def own_version() -> str:
    """Return the installed version."""
    return metadata.version("iotistic")


def _show_steps(found: Document) -> None:
    rows = [{**one, "now": one["underWay"]} for one in found["steps"]]
    emit(rows, json=False, columns=_STEP_COLUMNS, empty="nothing is to be done")


def _figures(machine: Document | None) -> Document:
    return {name: value for name, value in (machine or {}).items() if not isinstance(value, list)}


def _ails(service: Document) -> bool:
    """Say whether something is wrong with a service, or its probes say so."""
    return "error" in service or service.get("health") in _UNWELL


def _cloud(device: Document) -> str | None:
    """Return where the cloud is, and for a device that belongs to it, whether it answers."""
    endpoint: str | None = device.get("apiEndpoint")
    if not device["provisioned"]:
        return endpoint
    reach = ask("GET", "/v2/connection/health").get("reach")
    return f"{endpoint}, {reach}" if reach else endpoint
