"""What services see of the audit trail. It imports no other room, so every room may import it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

Subject = tuple[str, object]
"""What something was done to: its kind and its id, as ("user", uuid)."""


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Database(Protocol):
    """A connection or a pool; for entries, the one that makes the change."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return all rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Any:
        """Return the first row or None."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        ...


class Actor(Protocol):
    """Somebody with a name of the form `kind:id`; principals have one."""

    @property
    def name(self) -> str:
        """The name."""
        ...


class Origin(Protocol):
    """Where a request comes from."""

    @property
    def address(self) -> str:
        """The address of the caller."""
        ...

    @property
    def user_agent(self) -> str:
        """What the caller's program calls itself."""
        ...


class Trail(Protocol):
    """Where services say what was done."""

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
        """Note it in the caller's transaction: it is there exactly if the change is.

        `by` is None when nobody is known (a login that failed). `before` and `after` are mappings or dataclasses; what
        is secret or personal in them is left out here. Without `origin`, that of the request at hand is taken.
        """
        ...


class Events(Protocol):
    """Where services say what happened to devices."""

    async def target_changed(
        self, db: Database, uuid: str, document: Mapping[str, Any], *, by: str, at: datetime
    ) -> None:
        """Note that a target ({apps, config, version}) is in force."""
        ...

    async def reported(self, db: Database, uuid: str, fields: Mapping[str, Any], *, at: datetime) -> None:
        """Note what a report is about to change; called before it is merged, in the same transaction."""
        ...

    def follows(self, fields: Mapping[str, Any]) -> bool:
        """Say whether a report with these fields may be of interest at all."""
        ...

    async def changing(self, db: Database, reports: Sequence[tuple[str, Mapping[str, Any]]]) -> Sequence[int]:
        """Return the places of those reports, by (device, fields), that change what is followed.

        Whoever is not named does not change until the transaction ends.
        """
        ...


class Silent:
    """Nobody listens."""

    async def record(
        self, db: Database, by: Actor | str | None, action: str, subject: Subject, **_: object
    ) -> None:
        """Note nothing."""

    async def target_changed(self, db: Database, uuid: str, document: Mapping[str, Any], **_: object) -> None:
        """Note nothing."""

    async def reported(self, db: Database, uuid: str, fields: Mapping[str, Any], **_: object) -> None:
        """Note nothing."""

    def follows(self, fields: Mapping[str, Any]) -> bool:
        """Return False."""
        del fields
        return False

    async def changing(self, db: Database, reports: Sequence[tuple[str, Mapping[str, Any]]]) -> Sequence[int]:
        """Return none."""
        del db, reports
        return ()


NO_TRAIL: Trail = Silent()
NO_EVENTS: Events = Silent()
