"""One line of a log, whoever said it."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from iotistic.agent.reporting.services import written_id


class Level(StrEnum):
    """How much a line matters."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """Its place among all, from the least."""
        return _RANKS[self]


_RANKS = {level: rank for rank, level in enumerate(Level)}


class SourceType(StrEnum):
    """Who says a line."""

    CONTAINER = "container"
    SYSTEM = "system"
    """What happened to lines themselves."""
    MANAGER = "manager"
    """The agent."""


class Source(NamedTuple):
    """Who says a line, by name."""

    type: SourceType
    name: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line. `timestamp` in milliseconds since 1970.

    A container's line has the same `id` whenever it is read: whoever has it already can tell.
    """

    id: str
    message: str
    timestamp: int
    level: Level
    source: Source
    service_id: str = ""
    service_name: str = ""
    container_id: str = ""
    is_stderr: bool = False
    is_system: bool = False

    def is_of(self, service: str | None) -> bool:
        """Say whether a service says it, by name or id, or somebody else of that name; None is everybody."""
        return service is None or service in (self.service_name, self.service_id, self.source.name)

    def document(self) -> dict[str, Any]:
        """Return it as the cloud and the device API write it; what it has not is left out."""
        about = {"serviceName": self.service_name, "containerId": self.container_id}
        if self.service_id:
            about = {"serviceId": written_id(self.service_id), **about}
        return {
            "id": self.id,
            "message": self.message,
            "timestamp": self.timestamp,
            "level": str(self.level),
            "source": {"type": str(self.source.type), "name": self.source.name},
            **{name: value for name, value in about.items() if value != ""},
            "isStdErr": self.is_stderr,
            "isSystem": self.is_system,
        }

    def written(self) -> bytes:
        """Return it as one line of JSON, with its end."""
        text = json.dumps(self.document(), ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace") + b"\n"
