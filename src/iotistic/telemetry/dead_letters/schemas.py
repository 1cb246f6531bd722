"""HTTP shapes of dead letters."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from iotistic.telemetry.query.parameters import Cursor, Instant, Parameters, Text

MOST_IDS = 1_000
Serial = Annotated[int, Field(ge=1, le=2**63 - 1)]


class State(StrEnum):
    """Which letters are meant: not replayed yet, replayed, or both."""

    OPEN = "open"
    REPLAYED = "replayed"
    ALL = "all"


class LettersQuery(Parameters):
    """Which dead letters to list."""

    reason: Text | None = Field(None, description="A reason code.", examples=["decode.crc_mismatch"])
    since: Instant | None = Field(None, description="Received at or after this instant.")
    state: State = State.OPEN
    cursor: Cursor = None
    limit: int = Field(100, ge=1, le=1_000)


class Selection(BaseModel):
    """Which dead letters to act on: exactly one of ids, reason or all."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "decode.crc_mismatch"}, {"ids": [3, 4]}]}
    )

    ids: list[Serial] | None = Field(None, min_length=1, max_length=MOST_IDS)
    reason: Text | None = None
    all: bool = Field(False, description="True means every letter.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.ids is not None) + (self.reason is not None) + self.all != 1:
            raise ValueError("give exactly one of `ids`, `reason` and `all`")
        return self


class SelectionQuery(Selection, Parameters):
    """The same selection in a query string."""


def _example(**example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class LetterSummary(BaseModel):
    """A dead letter without its payload."""

    model_config = _example(
        id=42, received_at="2026-01-31T12:00:00Z", topic="tele/f2-aabbccddee01/sensor-mode/J1/sensor-1",
        payload_bytes=96, reason="decode.crc_mismatch", detail="expected 3F 12", replayed_at=None,
    )  # fmt: skip

    id: int
    received_at: datetime
    topic: str = Field(description="Bytes that are no UTF-8 are shown as \\xNN.")
    payload_bytes: int
    reason: str
    detail: str
    replayed_at: datetime | None


class Letter(LetterSummary):
    """A dead letter, whole."""

    payload_text: str | None = Field(description="Null when the payload is no UTF-8.")
    payload_hex: str
    payload_base64: str


class LetterPage(BaseModel):
    """Dead letters, newest first."""

    items: list[LetterSummary]
    next_cursor: str | None


class ReasonCount(BaseModel):
    """How many letters have one reason."""

    model_config = _example(
        reason="decode.crc_mismatch", open=3, replayed=1, first_at="2026-01-30T12:00:00Z",
        last_at="2026-01-31T12:00:00Z",
    )  # fmt: skip

    reason: str
    open: int
    replayed: int
    first_at: datetime
    last_at: datetime


class LetterCounts(BaseModel):
    """Dead letters by reason."""

    open: int
    items: list[ReasonCount]


class Replayed(BaseModel):
    """What a replay did. A letter that still cannot be stored comes back as a new one."""

    model_config = _example(replayed=41, refused=1, refused_ids=[42])

    replayed: int = Field(description="Acknowledged by the broker.")
    refused: int = Field(description="Refused by the broker, or with a topic that cannot be published on.")
    refused_ids: list[int] = Field(description="The first hundred of them; they stay open.")


class Deleted(BaseModel):
    """How many letters were deleted."""

    deleted: int
