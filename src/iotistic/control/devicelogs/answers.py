"""Lines of logs, and what became of an upload, as they are answered."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from iotistic.kernel.web.describing import Answer


class LogLine(Answer):
    """A line. What a device did not say of it is an empty text."""

    id: str = Field(pattern="^[0-9a-f]{24}$", description="Tells it from the other lines of its instant.")
    seq: int
    timestamp: datetime
    received_time: bool = Field(
        description="The device's clock could not be believed: it is when the line came."
    )
    level: Literal["debug", "info", "warn", "error"]
    service_name: str
    source: str
    container_id: str
    is_stderr: bool
    is_system: bool
    message: str


class LogLines(Answer):
    """Lines, the newest first; a page may have fewer than asked for, or none, while `nextCursor` leads on."""

    count: int
    logs: list[LogLine]
    next_cursor: str | None = Field(alias="nextCursor")


class LogService(Answer):
    """A service that there are lines of."""

    service: str
    last_at: datetime


class LogServices(Answer):
    """The services that there are lines of, and the same with the time of the last line."""

    services: list[str]
    details: list[LogService]


class LogFault(Answer):
    """Why a line was refused; lines are counted from 1."""

    line: int
    reason: str


class LogReceipt(Answer):
    """What became of an upload, in lines."""

    status: Literal["ok"]
    received: int
    stored: int
    duplicates: int
    expired: int
    refused: int
    faults: list[LogFault] = Field(description="The first of those that were refused.")
