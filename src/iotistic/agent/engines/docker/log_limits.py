"""How much Docker keeps of what containers print: without limits of ours its files grow until the disk is full.

The driver stays the one that Docker is set up with. Only drivers whose files lie on the device take limits;
a container that was made before keeps what it was made with.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import part
from iotistic.agent.engines.docker.settings import LogLimits

log = structlog.get_logger()

_LIMITED = frozenset({"json-file", "local"})
_HOLDS_S = 60.0
"""A Docker that was away for a moment may not be noticed by anybody."""


class LogKeeping:
    """Says how the logs of containers are kept by one Docker, which may come back as another."""

    def __init__(
        self, client: DockerClient, limits: LogLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._limits, self._clock = client, limits, clock
        self._driver = ""
        self._asked_after, self._holds_until = -1, 0.0

    async def config(self) -> dict[str, Any]:
        """Return what is to stand in a container's HostConfig. Raises EngineUnavailable."""
        limits = self._limits
        if not limits.max_size or await self._its_driver() not in _LIMITED:
            return {}
        options = {"max-size": limits.max_size, "max-file": str(limits.max_files)}
        return {"LogConfig": {"Type": self._driver, "Config": options}}

    async def _its_driver(self) -> str:
        """Ask once, and again after Docker was away: it may have been set up anew."""
        if self._asked_after != self._client.losses or self._clock() >= self._holds_until:
            losses = self._client.losses
            try:
                self._driver = str(part(await self._client.call("GET", "info")).get("LoggingDriver") or "")
            except Refused as exc:
                log.warning("container_logs.not_limited", reason=exc.message)
                self._driver = ""
            self._asked_after, self._holds_until = losses, self._clock() + _HOLDS_S
        return self._driver
