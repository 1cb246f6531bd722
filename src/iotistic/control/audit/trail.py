"""Writes entries into the transaction of the change itself: both are there, or neither.

No lock is taken and no hash is computed here: the sealer links entries a moment later (see sealing.py).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from iotistic.control.audit import repository
from iotistic.control.audit.model import Entry
from iotistic.control.audit.origin import current_origin, current_request
from iotistic.control.audit.port import Actor, Database, Origin, Severity, Subject
from iotistic.control.audit.redaction import clean, redacted

_LONGEST = 300


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


class AuditTrail:
    """The trail that is kept; see port.Trail."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock

    async def record(
        self,
        db: Database,
        by: Actor | str | None,
        action: str,
        subject: Subject,
        *,
        before: object = None,
        after: object = None,
        severity: Severity = Severity.INFO,
        origin: Origin | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Note in the caller's transaction who did what to what."""
        actor_type, actor_id = split_actor(by)
        kind, subject_id = subject[0], str(subject[1])
        was, became = redacted(before, after)
        came_from = origin or current_origin()
        entry = Entry(
            at=self._clock(),
            action=action,
            severity=severity,
            actor_type=actor_type,
            actor_id=actor_id,
            subject_type=kind,
            subject_id=_short(subject_id),
            device_uuid=_device(kind, subject_id, actor_type, actor_id),
            address=_short(came_from.address),
            user_agent=_short(came_from.user_agent),
            correlation_id=current_request(),
            before=was,
            after=became,
            details=cast("Mapping[str, object]", clean(dict(details))) if details else None,
        )
        await repository.add(db, entry)


def split_actor(by: Actor | str | None) -> tuple[str, str]:
    """Return the kind and the id of who did something; a name of no kind is of a service."""
    if by is None:
        return "nobody", ""
    name = by if isinstance(by, str) else by.name
    kind, colon, actor_id = name.partition(":")
    return (kind, _short(actor_id)) if colon else ("service", _short(name))


def _device(kind: str, subject_id: str, actor_type: str, actor_id: str) -> UUID | None:
    """Return which device an entry is about; what a device does is about itself."""
    try:
        if kind == "device":
            return UUID(subject_id)
        return UUID(actor_id) if actor_type == "device" else None
    except ValueError:
        return None


def _short(text: str) -> str:
    return text[:_LONGEST].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
