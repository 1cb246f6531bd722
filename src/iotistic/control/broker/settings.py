"""Settings of the broker's side of the control plane."""

import ipaddress

from pydantic import Field, SecretStr, field_validator

from iotistic.kernel.settings import Settings


class BrokerAskingSettings(Settings):
    """Brokers that ask over HTTP."""

    broker_auth_token: SecretStr | None = Field(default=None, min_length=32)
    """What brokers show at /mosquitto-auth, at least 32 random characters; BROKER_AUTH_TOKEN_FILE keeps it in a file.
    Without one every question is refused."""
    broker_auth_cache_s: float = Field(default=10.0, ge=0, le=300)
    """Seconds that decisions about a name are kept; changes made here end them at once."""


class BrokerKeeperSettings(Settings):
    """How soon the managed broker takes over accounts with passwords; each time it is started anew (0.4 s)."""

    broker_grant_pause_s: float = Field(default=30.0, ge=0)
    """Least seconds between two starts when accounts and rights were only added."""
    broker_revoke_pause_s: float = Field(default=6.0, ge=0)
    """Least seconds between two starts when rights were taken away or a password was changed; below 5, `up` takes
    the broker for one that keeps dying."""


class BrokerSealSettings(Settings):
    """Passwords of other brokers."""

    broker_secret: SecretStr | None = Field(default=None, min_length=32)
    """Encrypts the passwords of broker configurations, at least 32 random characters, the same for every API process;
    BROKER_SECRET_FILE keeps it in a file. Without one, configurations with a password are refused."""


class BrokerSampleSettings(Settings):
    """What is looked at of the traffic: a part of the time, so that neither broker nor readings pay for it."""

    broker_sample_every_s: float = Field(default=30.0, ge=1)
    """Seconds from the beginning of one sample to the next."""
    broker_sample_s: float = Field(default=1.0, gt=0, le=30)
    """Seconds that a sample lasts; it ends early after BROKER_SAMPLE_MESSAGES."""
    broker_sample_messages: int = Field(default=2_000, ge=1, le=100_000)
    """Messages after which a sample ends."""
    broker_topics_kept: int = Field(default=5_000, ge=1, le=100_000)
    """Topics that figures and schemas are kept of."""
    broker_topic_days: float = Field(default=30.0, gt=0)
    """Days without a message after which a topic is forgotten."""
    broker_stats_days: float = Field(default=7.0, gt=0)
    """Days that the broker's own figures are kept."""


class BrokerTestSettings(Settings):
    """Attempts to connect to a broker that is configured."""

    broker_test_networks: str = ""
    """Private networks that a broker may be in that is tried, as CIDR with commas between. Without them only public
    addresses are asked: nobody makes this server ask its own network."""
    broker_test_timeout_s: float = Field(default=10.0, gt=0, le=60)
    """Seconds that an attempt may take, with everything."""

    @field_validator("broker_test_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in value.split(","):
            if part.strip():
                ipaddress.ip_network(part.strip())
        return value


class BrokerDeskSettings(
    BrokerAskingSettings,
    BrokerKeeperSettings,
    BrokerSealSettings,
    BrokerTestSettings,
    BrokerSampleSettings,
):
    """All of them."""
