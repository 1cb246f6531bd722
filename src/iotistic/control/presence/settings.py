"""How long a device counts as being here."""

from pydantic import Field, model_validator

from iotistic.kernel.settings import Settings


class PresenceSettings(Settings):
    """Leases of devices."""

    presence_lease_s: float = Field(default=300.0, gt=0)
    """Seconds that a device counts as online after a sign of life; agents give one a minute."""
    presence_grace_s: float = Field(default=90.0, gt=0)
    """Seconds that it still does after its MQTT connection broke: longer than the minute between two polls, so
    that a broker's restart, or another session taking over, sends nobody offline who is still there."""
    presence_write_s: float = Field(default=20.0, ge=0)
    """Seconds within which signs of life of one device are written down once."""
    presence_beat_s: float = Field(default=2.0, gt=0)
    """Seconds between two rounds of the keeper."""
    presence_outage_s: float = Field(default=15.0, gt=0)
    """Seconds without any keeper after which leases are put off by as long as nobody listened."""
    presence_history_days: float = Field(default=90.0, gt=0)
    """Days that comings and goings are kept."""

    @model_validator(mode="after")
    def _fit(self) -> "PresenceSettings":
        if self.presence_write_s >= self.presence_grace_s or self.presence_grace_s > self.presence_lease_s:
            raise ValueError("PRESENCE_WRITE_S < PRESENCE_GRACE_S <= PRESENCE_LEASE_S")
        if self.presence_outage_s <= self.presence_beat_s:
            raise ValueError("PRESENCE_BEAT_S < PRESENCE_OUTAGE_S")
        return self
