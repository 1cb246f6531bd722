"""What a tag may be. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from iotistic.kernel.errors import Conflict, Invalid, NotFound

MOST_TAGS = 50
"""Tags of one device."""


class TagInvalid(Invalid):
    """A tag does not fit its definition."""

    code = "tag.invalid"


class TooManyTags(Invalid):
    """A device has 50 tags at most."""

    code = "tag.too_many"


class TagRequired(Conflict):
    """The definition of this tag says that devices keep it."""

    code = "tag.required"


class TagMissing(NotFound):
    """The device has no such tag."""

    code = "tag.unknown"


class DefinitionUnknown(NotFound):
    """There is no such tag definition."""

    code = "tag.definition_unknown"


class DefinitionTaken(Conflict):
    """This key has a definition already."""

    code = "tag.definition_taken"


class DefinitionInUse(Conflict):
    """Devices have tags that this would make wrong."""

    code = "tag.definition_in_use"


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What values a key may have; `allowed_values` None is any."""

    key: str
    description: str = ""
    allowed_values: tuple[str, ...] | None = None
    is_required: bool = False

    def allows(self, value: str) -> bool:
        """Say whether a value fits."""
        return self.allowed_values is None or value in self.allowed_values


def check(tags: Mapping[str, str], definitions: Mapping[str, Definition]) -> None:
    """Refuse values that do not fit their definitions. Raises TagInvalid naming each."""
    faults = {
        key: f"is to be one of {', '.join(definitions[key].allowed_values or ())}"
        for key, value in tags.items()
        if key in definitions and not definitions[key].allows(value)
    }
    if faults:
        listed = "; ".join(f"{key} {reason}" for key, reason in faults.items())
        raise TagInvalid(listed[:2000], hint="GET /tags/definitions lists what is allowed", tags=faults)


def check_kept(
    before: Mapping[str, str], after: Mapping[str, str], definitions: Mapping[str, Definition]
) -> None:
    """Refuse to take a tag off that is required. Raises TagRequired, TooManyTags."""
    if len(after) > MOST_TAGS:
        raise TooManyTags(limit=MOST_TAGS, tags=len(after))
    lost = sorted(
        key for key in before.keys() - after.keys() if key in definitions and definitions[key].is_required
    )
    if lost:
        raise TagRequired(
            f"required: {', '.join(lost)}", hint="set another value, or change the definition", tags=lost
        )
