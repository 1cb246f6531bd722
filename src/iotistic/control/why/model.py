"""Decision records, causes, and what is found. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iotistic.control.why.port import About
from iotistic.kernel.errors import NotFound

if TYPE_CHECKING:
    from iotistic.control.why.facts import Facts

Evidence = Mapping[str, object]
"""What a cause was recognised by: values for its sentence."""


class WhyDeviceUnknown(NotFound):
    """There is no such device, and nothing was ever heard of one."""

    code = "why.device_unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A decision that was written down."""

    id: int
    at: datetime
    device: str | None
    about: About
    code: str
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cause_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A reason that things can have.

    `sentence` and `fix` are texts with {names} of the evidence. `finds` returns the evidence, or None when this is not
    the reason. `leads_to` names a question whose answer goes on from here: not updated, because offline, because ...
    """

    code: str
    about: About
    sentence: str
    fix: str
    finds: Callable[["Facts"], Evidence | None]
    leads_to: About | None = None
    is_normal: bool = False
    """Whether this says that nothing is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A cause that holds for a device, in words."""

    about: About
    code: str
    sentence: str
    fix: str
    evidence: Evidence
    is_normal: bool = False
    record_id: int | None = None

    @classmethod
    def of(cls, cause: Cause, evidence: Evidence) -> "Finding":
        """Say a cause with its evidence."""
        words = {name: said(value) for name, value in evidence.items()}
        record = evidence.get("record_id")
        return cls(
            about=cause.about,
            code=cause.code,
            sentence=_filled(cause.sentence, words),
            fix=_filled(cause.fix, words),
            evidence={name: value for name, value in evidence.items() if name != "record_id"},
            is_normal=cause.is_normal,
            record_id=record if isinstance(record, int) else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Why: the chain, from what was asked to the last reason that is known; and what else holds."""

    device: str
    about: About
    asked_at: datetime
    chain: list[Finding]
    also: list[Finding]
    records: list[Record]


class _Words(dict[str, str]):
    """A sentence says `unknown` for what no evidence was given of."""

    def __missing__(self, key: str) -> str:
        return "unknown"


def _filled(text: str, words: Mapping[str, str]) -> str:
    return text.format_map(_Words(words))


def said(value: object) -> str:
    """Return a value as people read it: times to the second in UTC, numbers without needless places."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004  three places
    if isinstance(value, list | tuple):
        return ", ".join(said(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return "unknown" if value is None else str(value)[:300]
