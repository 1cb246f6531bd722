"""`iotctl apps`."""

from cyclopts import App

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import WAIT_S, Force, Wait, Yes, confirm, operate, tell_services
from iotistic.entrypoints.iotctl.client import ask, part
from iotistic.entrypoints.output import emit

app = App(name="apps", help="List, start, stop, restart and purge apps.", help_format="plaintext")

_SERVICE_COLUMNS = ("service", "id", "state", "status", "image", "container", "error")


@app.default
@app.command(name="list")
def list_apps(*, json: AsJson = False) -> None:
    """List apps."""
    found = ask("GET", "/v1/apps")["apps"]
    if json:
        emit(found, json=True)
        return
    rows = [
        {
            "id": one["appId"],
            "name": one["appName"],
            "services": len(one["services"]),
            "running": sum(service["serviceStatus"] == "running" for service in one["services"]),
        }
        for one in found
    ]
    emit(rows, json=False, empty="no apps")


@app.command
def info(name: str, /, *, json: AsJson = False) -> None:
    """Show an app with its services.

    Parameters
    ----------
    name
        Id or name of the app.
    """
    found = ask("GET", f"/v1/apps/{part(name)}")
    if json:
        emit(found, json=True)
        return
    emit({"id": found["appId"], "name": found["appName"]}, json=False)
    tell_services(found["services"], _SERVICE_COLUMNS)


@app.command
def start(name: str, /, *, wait: Wait = WAIT_S, json: AsJson = False) -> int:
    """Start every service of an app, until the cloud wants something else of it.

    Parameters
    ----------
    name
        Id or name of the app.
    """
    return operate(f"/v1/apps/{part(name)}/start", wait=wait, force=False, json=json)


@app.command
def stop(name: str, /, *, force: Force = False, wait: Wait = WAIT_S, json: AsJson = False) -> int:
    """Stop every service of an app, until the cloud wants something else of it; containers and data stay.

    Parameters
    ----------
    name
        Id or name of the app.
    """
    return operate(f"/v1/apps/{part(name)}/stop", wait=wait, force=force, json=json)


@app.command
def restart(name: str, /, *, force: Force = False, wait: Wait = WAIT_S, json: AsJson = False) -> int:
    """Restart every service of an app that is not to be stopped; containers and data stay.

    Parameters
    ----------
    name
        Id or name of the app.
    """
    return operate(f"/v1/apps/{part(name)}/restart", wait=wait, force=force, json=json)


@app.command
def purge(
    name: str, /, *, yes: Yes = False, force: Force = False, wait: Wait = WAIT_S, json: AsJson = False
) -> int:
    """Remove the volumes of an app with all its data, and make what it needs anew; asks first.

    Parameters
    ----------
    name
        Id or name of the app.
    """
    confirm(f"All data of the app {name} will be removed.", yes=yes)
    return operate(f"/v1/apps/{part(name)}/purge", wait=wait, force=force, json=json)
