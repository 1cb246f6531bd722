"""`iotctl provision`, `deprovision` and `factory-reset`."""

import getpass
import sys
from typing import Annotated

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import Yes, confirm
from iotistic.entrypoints.iotctl.client import Document, ask
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Unavailable

app = App(
    name="provision", help="Bring this device into a fleet; `provision status`.", help_format="plaintext"
)

_PATIENCE_S = 180.0
_COLUMNS = {
    "provisioned": "provisioned",
    "state": "state",
    "uuid": "uuid",
    "device id": "deviceId",
    "device name": "deviceName",
    "cloud": "apiEndpoint",
    "provisioning key": "hasProvisioningKey",
    "mqtt": "mqttConfigured",
}
_WHEN_THERE = {
    "problem": "problem",
    "tried again at": "nextTryAt",
    "cloud was not told": "cloudNotToldBecause",
}
_TRIED_AGAIN = ("cloud.unavailable", "cloud.unintelligible")
_GOES_ON = "it is tried again by itself; see `iotctl provision status`"


@app.default
def provision(
    key: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    api: Annotated[str | None, Parameter(help="Base URL of the cloud.")] = None,
    name: Annotated[str | None, Parameter(help="Name of the device.")] = None,
    device_type: Annotated[str | None, Parameter(name="--type", help="Kind of the device.")] = None,
    application: Annotated[str | None, Parameter(help="Id of the application that it is to run.")] = None,
    json: AsJson = False,
) -> None:
    """Bring this device into a fleet.

    Parameters
    ----------
    key
        Provisioning key of the fleet; `-` reads it from standard input, where no list of processes shows it.
    """
    secret = _read_key() if key == "-" else key
    given = {
        "provisioningApiKey": secret,
        "apiEndpoint": api,
        "deviceName": name,
        "deviceType": device_type,
        "applicationId": application,
    }
    body = {field: value for field, value in given.items() if value is not None}
    try:
        found = ask("POST", "/v1/provision", body=body, answer_within_s=_PATIENCE_S)
    except Unavailable as exc:
        if exc.fields.get("code") in _TRIED_AGAIN:
            exc.hint = exc.hint or _GOES_ON
        raise
    _tell(found, json=json)


@app.command
def status(*, json: AsJson = False) -> None:
    """Say how far this device is with its cloud."""
    _tell(ask("GET", "/v1/provision/status"), json=json)


def deprovision(*, json: AsJson = False) -> None:
    """Leave the fleet; the device keeps its uuid and its key, and can come back as itself."""
    _tell(ask("POST", "/v1/deprovision", body={}, answer_within_s=_PATIENCE_S), json=json)


def factory_reset(*, yes: Yes = False, json: AsJson = False) -> None:
    """Leave the fleet and forget everything but the uuid; asks first."""
    confirm("The device will forget its fleet, its apps and its settings.", yes=yes)
    _tell(ask("POST", "/v1/factory-reset", body={}, answer_within_s=_PATIENCE_S), json=json)


def _tell(found: Document, *, json: bool) -> None:
    rows = {name: found.get(field) for name, field in _COLUMNS.items()}
    rows |= {name: found[field] for name, field in _WHEN_THERE.items() if found.get(field)}
    emit(found if json else rows, json=json)


def _read_key() -> str:
    """Read a key from standard input; a person is asked, and does not see it."""
    return (getpass.getpass("Provisioning key: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
