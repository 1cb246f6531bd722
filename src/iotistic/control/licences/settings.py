"""Settings of the licence."""

from pydantic import Field, SecretStr, field_validator

from iotistic.kernel.settings import Settings


class LicenceSettings(Settings):
    """By whose word an installation may do what."""

    license_public_key: str = ""
    """The seller's public key (PEM, RSA; `\\n` may stand for line ends). Empty: nothing is sold and nothing limited."""
    iotistic_license_key: SecretStr | None = None
    """The licence (a signed token). One that was installed over the API later comes first."""
    billing_api_url: str = ""
    """Where the seller is asked for the licence in force once a day; empty: nobody is asked."""
    billing_upgrade_url: str = ""
    """Where people buy more; part of every refusal."""
    license_offline_days: float = Field(default=30.0, gt=0)
    """Days that a licence counts without word of the seller; only where BILLING_API_URL is set."""

    @field_validator("license_public_key")
    @classmethod
    def _with_line_ends(cls, value: str) -> str:
        return value.replace("\\n", "\n").strip()
