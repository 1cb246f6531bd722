"""Settings of the catch-up lane."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class CatchupSettings(Settings):
    """How fast devices may send what they kept through an outage."""

    catchup_chunk: int = Field(default=100, ge=1, le=10_000)
    """Messages granted to one device at a time, before it is the next one's turn; also the least that all
    devices together may have under way."""
    catchup_lease_s: float = Field(default=30.0, ge=1, le=3600)
    """Seconds that a device has for what it is granted. What a device that vanished was granted counts as
    under way until then."""
    catchup_window: int = Field(default=20_000, ge=1, le=10_000_000)
    """Most messages that all devices together may have under way: granted and not stored."""
    catchup_live_delay_s: float = Field(default=0.05, gt=0, le=60)
    """Seconds, through the broker and from receipt to commit, that live readings may always take. Beyond
    that, and beyond twice what they took before the catch-up, less is granted."""
    catchup_queue: int = Field(default=20_000, ge=1, le=1_000_000)
    """Devices that may stand in the queue; further ones are told to come again."""
