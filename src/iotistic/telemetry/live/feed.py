"""Where a process that stores readings tells of them."""

from typing import Protocol


class Feed(Protocol):
    """Takes encoded frames for everybody who listens; nothing in it ever waits for them."""

    @property
    def consumers(self) -> int:
        """How many API processes listen now; with none, there is no need to encode a frame."""
        ...

    async def start(self) -> None:
        """Begin to take frames."""
        ...

    def publish(self, frame: bytes) -> None:
        """Hand on one encoded frame, or count its rows as dropped; returns at once."""
        ...

    def unheard(self, rows: int) -> None:
        """Count rows that were stored while nobody listened and that no frame was made of."""
        ...

    async def close(self) -> None:
        """Hand nothing on any more."""
        ...
