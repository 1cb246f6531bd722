"""How long the trail, events and decision records are kept."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class AuditSettings(Settings):
    """Sealing and keeping of the audit trail, of events, and of decision records."""

    audit_seal_every_s: float = Field(default=2.0, gt=0, le=3600)
    """Seconds between looks for entries to seal: so long a change of an entry could go unnoticed."""
    audit_keep_months: int = Field(default=24, ge=1, le=1200)
    """Whole months that entries of the audit trail are kept after their own; then the month leaves."""
    events_keep_days: int = Field(default=90, ge=1, le=36500)
    """Days that events of devices are kept."""
    why_keep_months: int = Field(default=12, ge=1, le=1200)
    """Whole months that decision records are kept after their own."""
