"""When a device counts as silent."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class WhySettings(Settings):
    """Answers to `why`."""

    why_silent_after_s: float = Field(default=300.0, gt=0)
    """Seconds without a report after which a device counts as offline, where no lease of its connection is kept."""
