"""Settings of rollouts."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class RolloutSettings(Settings):
    """How rollouts are carried out; what a single one keeps to is said where it is made."""

    rollout_look_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds between two looks at a rollout that is under way."""
    rollout_batch: int = Field(default=200, ge=1, le=1000)
    """Most devices whose parts go on in one transaction: locks are held for a fraction of a second."""
    rollout_most_devices: int = Field(default=20_000, ge=1, le=200_000)
    """Most devices of one rollout or preview."""
    rollout_offline_after_s: float = Field(default=900.0, ge=10)
    """Seconds of silence after which a preview calls a device offline; a device at rest tells its figures every
    five minutes."""
