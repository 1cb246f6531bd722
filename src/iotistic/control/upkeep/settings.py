"""Settings of background work."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class UpkeepSettings(Settings):
    """How tasks of the list are carried out."""

    upkeep_round_s: float = Field(default=1.0, gt=0, le=60)
    """Seconds between two looks at what is due."""
    upkeep_at_once: int = Field(default=2, ge=1, le=20)
    """Tasks that one process carries out at a time."""
    upkeep_lease_s: float = Field(default=30.0, ge=1, le=600)
    """Seconds without a word of its process after which a run counts as lost, and is done again by another one."""
    upkeep_runs_kept: int = Field(default=100, ge=1, le=10_000)
    """Runs that are kept of each task; older ones are forgotten."""
    upkeep_certificate_days: float = Field(default=30.0, gt=0, le=3650)
    """Days before their end from which certificates are listed as expiring."""
