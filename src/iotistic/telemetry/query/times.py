"""Instants in requests: ISO 8601, or relative to now; and their ISO form in answers. UTC throughout."""

import re
from datetime import UTC, datetime, timedelta

_RELATIVE = re.compile(r"([+-])(\d{1,9})(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LOST_PLUS = re.compile(r"T\S+ \d\d:?\d\d$")
FORMS = "an ISO 8601 time such as 2026-01-31T12:00:00Z, `now`, or an age such as -15m, -24h or -7d"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def parse_time(text: str, *, now: datetime | None = None) -> datetime:
    """Return the instant that `text` means; raise ValueError with the accepted forms.

    A time without zone is UTC. Instants are between 1970 and 2200.
    """
    now = now or datetime.now(UTC)
    given = text.strip()
    try:
        if given == "now":
            return now
        if relative := _RELATIVE.fullmatch(given):
            sign, amount, unit = relative.groups()
            age = timedelta(seconds=int(amount) * _SECONDS[unit])
            found = now + age if sign == "+" else now - age
        else:
            # A plus sign that was not percent-encoded in a URL arrives as a space.
            found = datetime.fromisoformat(
                given.replace(" ", "+") if _LOST_PLUS.search(given) else given.upper()
            )
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"give {FORMS}") from exc
    if not EARLIEST <= found < LATEST:
        raise ValueError("times are between 1970-01-02 and 2200-01-01")
    return found


def to_us(instant: datetime) -> int:
    """Return microseconds since the epoch, exactly."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    """Return the instant `microseconds` after the epoch."""
    return EPOCH + timedelta(microseconds=microseconds)


def iso(instant: datetime) -> str:
    """Return the ISO 8601 form with Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
