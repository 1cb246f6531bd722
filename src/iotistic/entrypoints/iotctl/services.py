"""`iotctl services`."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import (
    WAIT_S,
    Follow,
    Force,
    Lines,
    Wait,
    operate,
    shown_state,
    tell_services,
)
from iotistic.entrypoints.iotctl.client import Document, ask, part
from iotistic.entrypoints.iotctl.logs import show_logs
from iotistic.entrypoints.output import emit

app = App(name="services", help="List, start, stop, pause and restart services.", help_format="plaintext")

OfApp = Annotated[str | None, Parameter(name="--app", help="The app, where several have such a service.")]

_COLUMNS = ("app", "service", "id", "state", "status", "image", "container", "error")


@app.default
@app.command(name="list")
def list_services(of: str | None = None, *, json: AsJson = False) -> None:
    """List services.

    Parameters
    ----------
    of
        Id or name of an app: only its services.
    """
    found = ask("GET", "/v1/services", params=_of(of))["services"]
    if json:
        emit(found, json=True)
    else:
        tell_services(found, _COLUMNS)


@app.command
def info(name: str, /, *, app: OfApp = None, json: AsJson = False) -> None:
    """Show a service.

    Parameters
    ----------
    name
        Id or name of the service.
    """
    found = ask("GET", f"/v1/services/{part(name)}", params=_of(app))
    emit(found if json else {**found, "state": shown_state(found)}, json=json)


@app.command
def start(name: str, /, *, app: OfApp = None, wait: Wait = WAIT_S, json: AsJson = False) -> int:
    """Start a service, until the cloud wants something else of its app.

    Parameters
    ----------
    name
        Id or name of the service.
    """
    return _operate("start", name, app, wait=wait, force=False, json=json)


@app.command
def stop(
    name: str, /, *, app: OfApp = None, force: Force = False, wait: Wait = WAIT_S, json: AsJson = False
) -> int:
    """Stop a service, until the cloud wants something else of its app; its container stays.

    Parameters
    ----------
    name
        Id or name of the service.
    """
    return _operate("stop", name, app, wait=wait, force=force, json=json)


@app.command
def pause(
    name: str, /, *, app: OfApp = None, force: Force = False, wait: Wait = WAIT_S, json: AsJson = False
) -> int:
    """Freeze a service; `start` lets it go on.

    Parameters
    ----------
    name
        Id or name of the service.
    """
    return _operate("pause", name, app, wait=wait, force=force, json=json)


@app.command
def restart(
    name: str, /, *, app: OfApp = None, force: Force = False, wait: Wait = WAIT_S, json: AsJson = False
) -> int:
    """Stop and start the container of a service; it stays the same one.

    Parameters
    ----------
    name
        Id or name of the service.
    """
    return _operate("restart", name, app, wait=wait, force=force, json=json)


@app.command
def logs(
    name: str, /, *, app: OfApp = None, follow: Follow = False, lines: Lines = 100, json: AsJson = False
) -> None:
    """Show what a service printed.

    Parameters
    ----------
    name
        Id or name of the service.
    """
    show_logs(f"/v1/services/{part(name)}/logs", lines=lines, follow=follow, json=json, **_of(app))


def _operate(verb: str, name: str, app: str | None, *, wait: float, force: bool, json: bool) -> int:
    fields: Document = {"appId": app} if app else {}
    return operate(f"/v1/services/{part(name)}/{verb}", wait=wait, force=force, json=json, **fields)


def _of(app: str | None) -> dict[str, Any]:
    return {"app": app} if app else {}
