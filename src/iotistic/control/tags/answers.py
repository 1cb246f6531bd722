"""Tags and their definitions as they are answered."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from iotistic.kernel.web.describing import Absent, Answer


class DeviceTags(Answer):
    """The tags of a device."""

    tags: dict[str, str]


class TagOutcome(Answer):
    """What became of one device; `code` and `message` say why it was refused."""

    uuid: UUID
    outcome: Literal["done", "unchanged", "refused"]
    code: str | Absent = None
    message: str | Absent = None


class TagOutcomes(Answer):
    """What became of devices, in the order of the request."""

    done: int
    unchanged: int
    refused: int
    results: list[TagOutcome]


class TagDefinition(Answer):
    """What values a key may have; `allowedValues` null is any."""

    key: str
    description: str
    allowed_values: list[str] | None = Field(alias="allowedValues")
    is_required: bool = Field(alias="isRequired")


class TagDefinitions(Answer):
    """All definitions, by key."""

    definitions: list[TagDefinition]


class TagDefinitionGone(Answer):
    """That a definition is forgotten."""

    status: Literal["ok"]
    key: str


class TagKeys(Answer):
    """The keys in use."""

    keys: list[str]


class TagValueCount(Answer):
    """A value, and how many devices have it."""

    value: str
    devices: int


class TagValues(Answer):
    """The values of a key."""

    key: str
    values: list[TagValueCount]
