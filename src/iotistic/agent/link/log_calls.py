"""Lines of the log to the cloud.

POST /device/<uuid>/logs     NDJSON, one LogEntry a line
"""

from collections.abc import Mapping
from typing import Protocol

from iotistic.agent.link.budget import Purpose


class Asks(Protocol):
    """Asks the cloud as this device (Cloud)."""

    async def ask(
        self,
        method: str,
        path: str,
        purpose: Purpose = ...,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        """Return the answer. Raises the errors of this room."""
        ...


class LogCalls:
    """The log of one device."""

    def __init__(self, cloud: Asks, uuid: str) -> None:
        self._cloud, self._path = cloud, f"/device/{uuid}/logs"

    async def send_logs(self, lines: bytes, *, is_gzip: bool) -> None:
        """Send lines as they are; returns once the cloud has them. Raises the errors of this room."""
        headers = {"Content-Type": "application/x-ndjson"}
        if is_gzip:
            headers["Content-Encoding"] = "gzip"
        await self._cloud.ask("POST", self._path, Purpose.LOGS, body=lines, headers=headers)
