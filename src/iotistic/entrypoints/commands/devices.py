"""`iotistic devices`."""

from cyclopts import App

from iotistic.entrypoints.commands.options import AsJson, device_path
from iotistic.entrypoints.installation import connect
from iotistic.entrypoints.output import emit
from iotistic.telemetry.query.schemas import Datapoints, DeviceDetail, DevicePage, DeviceSummary, LatestValues

app = App(name="devices", help_format="plaintext")

_COLUMNS = ("id", "name", "mac", "template", "datapoints", "last_seen")
_PAGE = 1000


@app.default
@app.command(name="list")
def list_devices(*, search: str | None = None, limit: int = 1000, json: AsJson = False) -> None:
    """List devices by id.

    Parameters
    ----------
    search
        Only devices with this in their name, MAC, uuid or external key.
    limit
        Most devices to list.
    """
    api = connect()
    found: list[DeviceSummary] = []
    cursor: str | None = None
    while len(found) < limit:
        asked = min(_PAGE, limit - len(found))
        page = api.get("/telemetry/devices", DevicePage, q=search, limit=asked, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    emit(found, json=json, columns=_COLUMNS, empty="no devices yet; try `iotistic simulate f2`")


@app.command
def show(device: str, *, json: AsJson = False) -> None:
    """Show one device: what it is, what it measures, and its last values and those of the sensors on its pins.

    Parameters
    ----------
    device
        Id, MAC, uuid, external key, or a name that only one device has.
    """
    api = connect()
    detail = api.get(device_path(device), DeviceDetail)
    datapoints = api.get(f"/telemetry/devices/{detail.id}/datapoints", Datapoints).items
    sensors = {pin.device_id: pin.device_name for connector in detail.connectors for pin in connector.pins}
    names = {detail.id: detail.name, **sensors}
    latest = api.get("/telemetry/latest", LatestValues, device=list(names)).items
    if json:
        emit({**detail.model_dump(), "datapoints": datapoints, "latest": latest}, json=True)
        return
    known = detail.model_dump(exclude={"connectors", "seats"}, exclude_none=True)
    emit(known, json=False)
    for connector in detail.connectors:
        for pin in connector.pins:
            emit(f"J{connector.number} pin {pin.pin}: {pin.device_name} (device {pin.device_id})", json=False)
    for seat in detail.seats:
        emit(f"on controller {seat.controller_id}, J{seat.connector} pin {seat.pin}", json=False)
    rows = [
        {
            "device": names[value.device_id],
            "datapoint": value.label,
            "value": value.text if value.value is None else value.value,
            "unit": value.unit,
            "time": value.timestamp,
        }
        for value in latest
    ]
    emit("", json=False)
    emit(rows, json=False, empty="no readings yet")
