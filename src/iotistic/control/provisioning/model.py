"""Why a registration may be refused, and what a provisioning key is."""

from dataclasses import dataclass
from datetime import datetime

from iotistic.kernel.errors import Conflict, Invalid, NotFound
from iotistic.kernel.web.problems import PlanRefused, RateLimited, Unauthenticated

UNNAMED_FLEET = "default-fleet"
"""Where a device waits that was announced for no fleet in particular; any key lets it in, to the key's fleet."""


class KeyUnknown(Unauthenticated):
    """There is no such provisioning key."""

    code = "provisioning.key_unknown"


class KeyRevoked(Unauthenticated):
    """The provisioning key was revoked."""

    code = "provisioning.key_revoked"


class KeyExpired(Unauthenticated):
    """The provisioning key has expired."""

    code = "provisioning.key_expired"


class KeyUsedUp(Unauthenticated):
    """The provisioning key is used up."""

    code = "provisioning.key_used_up"


class ProvisioningKeyMissing(NotFound):
    """There is no provisioning key of this id."""

    code = "provisioning.key_id_missing"


class EnvelopeKeyUnknown(Invalid):
    """The envelope was made for a key that the cloud does not have any more."""

    code = "provisioning.key_id_unknown"


class IdempotencyInvalid(Invalid):
    """The name of the registration cannot be used."""

    code = "provisioning.idempotency_key_invalid"


class DeviceExists(Conflict):
    """The device is registered already."""

    code = "provisioning.device_exists"


class AwaitedElsewhere(Conflict):
    """This device is announced for another fleet than that of the provisioning key."""

    code = "provisioning.awaited_elsewhere"


class ProofRefused(Conflict):
    """The proof is not one by the key that the cloud knows."""

    code = "provisioning.proof_refused"


class DeviceLimit(PlanRefused):
    """The plan allows no more devices."""

    code = "plan.device_limit"


class ChallengeLive(Conflict):
    """A challenge is waiting to be signed already."""

    code = "provisioning.challenge_live"


class NoChallenge(Unauthenticated):
    """Nothing is waiting to be signed."""

    code = "provisioning.no_challenge"


class SignatureRefused(Unauthenticated):
    """The signature does not prove that the device has the key."""

    code = "provisioning.proof_invalid"


class TooManyAttempts(RateLimited):
    """There were too many attempts."""

    code = "provisioning.too_many_attempts"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvisioningKey:
    """What is kept of a key that lets devices in; times are aware."""

    id: str
    digest: bytes
    fleet_id: str
    description: str
    max_uses: int
    current_uses: int
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    revoked_reason: str | None

    def require_valid(self, now: datetime) -> None:
        """Raise KeyRevoked or KeyExpired; whether it is used up is known only when a use is taken."""
        if self.revoked_at is not None:
            raise KeyRevoked
        if self.expires_at <= now:
            raise KeyExpired(expires_at=self.expires_at.isoformat())
