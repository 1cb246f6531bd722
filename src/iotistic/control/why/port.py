"""What services see of decision records. It imports no other room, so every room may import it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol


class About(StrEnum):
    """What somebody may ask why of."""

    OFFLINE = "offline"
    NOT_UPDATED = "not-updated"
    LIMITED = "limited"
    ROLLED_BACK = "rolled-back"


class Database(Protocol):
    """A connection or a pool; for records, the one that makes the decision."""

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


class Decisions(Protocol):
    """Where services say what they decided about a device, and why."""

    async def decided(
        self,
        db: Database,
        about: About,
        code: str,
        *,
        device: str | None,
        facts: Mapping[str, object] | None = None,
        source: str = "",
        cause: int | None = None,
    ) -> int | None:
        """Note a decision in the caller's transaction and return its id, for those that follow from it (`cause`).

        `device` is None for what is about all of them. `facts` are a few numbers and names; secrets are left out.
        """
        ...

    async def refused(self, db: Database, error: Exception, *, device: str | None, source: str = "") -> None:
        """Note a refusal, if it is one that somebody may ask about; at most once a minute for each device and code.

        Call it outside of the transaction that the refusal rolls back.
        """
        ...


class SilentDecisions:
    """Nobody asks."""

    async def decided(self, db: Database, about: About, code: str, **_: object) -> int | None:
        """Note nothing."""

    async def refused(self, db: Database, error: Exception, **_: object) -> None:
        """Note nothing."""


NO_DECISIONS: Decisions = SilentDecisions()
