"""What a device is to sign, and what it signed. Without the cryptography, which is megabytes of a small device."""

from dataclasses import dataclass

from iotistic.contracts.provisioning.fields import Fields


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is to be signed, and until when (seconds since 1970, None when that was not said)."""

    text: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """A signed challenge."""

    challenge: str
    signature: str


def read_challenge(fields: Fields) -> Challenge:
    """Read `challenge` and `expiresAt`; an empty text means that there is none."""
    return Challenge(fields.maybe("challenge", most=512), fields.time_if_any("expiresAt", "expires_at"))
