"""What several commands share: options, and how they name a device to the API."""

from typing import Annotated
from urllib.parse import quote

from cyclopts import Parameter

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


def device_path(device: str) -> str:
    """Return the API's path of a device, however it is named: names may hold spaces and slashes."""
    return f"/telemetry/devices/{quote(device, safe='')}"
