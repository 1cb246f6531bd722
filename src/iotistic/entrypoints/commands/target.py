"""`iotistic target`: what a device is to be."""

from collections.abc import Mapping
from typing import Any, cast

from cyclopts import App

from iotistic.entrypoints.commands.fleet import TargetTold, fleet_uuid
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.installation import connect
from iotistic.entrypoints.output import emit

app = App(name="target", help="Show what a device is to be.", help_format="plaintext")


@app.command
def show(device: str, *, json: AsJson = False) -> None:
    """Show a device's target, and what waits to be deployed.

    Parameters
    ----------
    device
        Its uuid, or a name that only one device has.
    """
    api = connect()
    told = api.get(f"/devices/{fleet_uuid(api, device)}/target-state", TargetTold)
    if json:
        emit(told, json=True)
        return
    emit(told.model_dump(include={"uuid", "version", "last_deployed_at", "deployed_by"}), json=False)
    emit("\nin force:", json=False)
    emit(_services(told.apps), json=False, empty="nothing runs there")
    if told.draft is not None:
        emit("\nwaits to be deployed:", json=False)
        emit(_services(told.draft["apps"]), json=False, empty="nothing")


def _services(apps: Mapping[str, Any]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for app_id, one in apps.items():
        for service in cast("list[dict[str, Any]]", one.get("services") or []):
            config: dict[str, Any] = service.get("config") or {}
            row = {"app": one.get("appName", app_id), "service": service.get("serviceName")}
            image = config.get("image") or service.get("image") or service.get("imageName")
            rows.append({**row, "state": service.get("state", "running"), "image": image})
    return rows
