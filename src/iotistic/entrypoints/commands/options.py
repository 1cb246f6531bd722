"""What several commands share: options, and how they name a device to the API."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from cyclopts import Parameter

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]

InputFile = Annotated[Path, Parameter(allow_leading_hyphen=True)]
"""A file that is read, or `-` for standard input."""


def device_path(device: str) -> str:
    """Return the API's path of a device, however it is named: names may hold spaces and slashes."""
    return f"/telemetry/devices/{quote(device, safe='')}"
