"""Settings of the device API."""

import socket

from iotistic.agent.local_api.access import Mode, Policy
from iotistic.agent.local_api.address import PORT
from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field, SecretStr, field_validator

_LEAST_KEY = 16


class DeviceApiSettings(Settings):
    """Who may use the device API, and where it listens."""

    device_api_port: int = Field(default=PORT, ge=0, le=65_535)
    """Port of the device API; 0 takes a free one, which the log names."""
    api_security_mode: Mode = Mode.LOCALHOST_ONLY
    """Who may use the device API: LOCALHOST_ONLY (listens on loopback only), LOCAL_NETWORK (private addresses,
    with the key), API_KEY (any address, with the key), OPEN (anybody, without a key: for a bench only)."""
    enable_auth: bool = False
    """Ask for the key in LOCALHOST_ONLY too. The modes LOCAL_NETWORK and API_KEY always do, whatever this says."""
    api_key: SecretStr | None = Field(default=None, min_length=_LEAST_KEY)
    """The key of the device API, at least 16 characters; without it one is made at the first start and kept."""

    @field_validator("api_security_mode", mode="before")
    @classmethod
    def _mode_in_any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def given_key(self) -> str:
        """The key that was set, empty when one is to be made."""
        return self.api_key.get_secret_value() if self.api_key is not None else ""

    @property
    def policy(self) -> Policy:
        """Who may use the device API."""
        return Policy(self.api_security_mode, self.enable_auth, frozenset({socket.gethostname().lower()}))
