"""What several verbs share: options, and how operations are asked for and told of."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from iotistic.entrypoints.iotctl.client import Document, ask
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Conflict

Force = Annotated[bool, Parameter(negative="", help="Do not honour the locks of apps.")]
Wait = Annotated[
    float, Parameter(validator=Number(gte=0, lte=300), help="Seconds to wait until it is done (default: 60).")
]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")]
Lines = Annotated[
    int,
    Parameter(
        name=["--lines", "-n"], validator=Number(gte=1, lte=100_000), help="How many of the last lines."
    ),
]
Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Go on with new lines.")]

WAIT_S = 60.0
_MARGIN_S = 30.0
_COLUMNS = ("app", "service", "state", "status", "container")


class NotConfirmed(Conflict):
    """It was not done, since nobody confirmed it."""

    code = "iotctl.not_confirmed"


def operate(path: str, *, wait: float, force: bool, json: bool, **fields: Any) -> int:
    """Ask for an operation and tell what came of it; 1 when it was not done in time."""
    body: Document = {"force": force, "wait": wait, **fields}
    found = ask("POST", path, body=body, answer_within_s=wait + _MARGIN_S)
    if json:
        emit(found, json=True)
    else:
        emit(service_rows(found["services"]), json=False, columns=_COLUMNS, empty="no service to be changed")
        if not found["done"]:
            for reason in found["waiting"] or [f"not done after {found['tookSeconds']} s; it goes on"]:
                emit(f"waiting: {reason}", json=False)
    return 0 if found["done"] else 1


def tell_services(services: list[Document], columns: Sequence[str]) -> None:
    """Print services as a table; what is wrong with them follows, since it is too long for one."""
    emit(service_rows(services), json=False, columns=columns, empty="no services")
    for one in services:
        if "error" in one:
            emit(f"{one['serviceName']}: {one['error']['message']}", json=False)


def service_rows(services: list[Document]) -> list[Document]:
    """Return services as rows of a table."""
    return [
        {
            "app": one.get("appName") or one.get("appId"),
            "service": one["serviceName"],
            "id": one["serviceId"],
            "state": shown_state(one),
            "status": shown_status(one),
            "image": one.get("imageName", ""),
            "container": (one.get("containerId") or "")[:12],
            "error": one.get("error", {}).get("type", ""),
        }
        for one in services
    ]


def shown_state(service: Document) -> str:
    """Return what a service is to be, and when a person here wished it, what the cloud wants."""
    state = str(service.get("state", "to go"))
    cloud = service.get("cloudState")
    return f"{state} (here; cloud: {cloud})" if cloud and cloud != state else state


def shown_status(service: Document) -> str:
    """Return how a service stands, with what probes say of it when it does not serve."""
    status, health = str(service["status"]), service.get("health", "ready")
    return status if health == "ready" or status != "running" else f"{status}, {health}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person. Raises NotConfirmed without a clear yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{question} Nobody is there to be asked", hint="confirm with --yes")
    sys.stderr.write(f"{question} Type yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise NotConfirmed
