"""Settings of the look-up of images."""

import ipaddress

from pydantic import Field, SecretStr, field_validator

from iotistic.kernel.settings import Settings


class ImageSettings(Settings):
    """How tags of images become digests."""

    image_resolve: bool = False
    """Whether every deployment looks up what its tags stand for, where it does not say so itself."""
    image_registry_networks: str = ""
    """Private networks that registries may be in, as CIDR with commas between. Without them only public addresses are
    asked: nobody makes this server ask its own network."""
    image_registry_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Seconds that looking up one image may take, with everything."""
    image_digest_cache_s: float = Field(default=60.0, ge=0, le=86_400)
    """Seconds that a digest is not asked for again."""
    registry_secret: SecretStr | None = Field(default=None, min_length=32)
    """Encrypts the passwords of registries, at least 32 random characters, the same for every API process;
    REGISTRY_SECRET_FILE keeps it in a file. Without one, registries with a password are refused."""

    @field_validator("image_registry_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in value.split(","):
            if part.strip():
                ipaddress.ip_network(part.strip())
        return value
