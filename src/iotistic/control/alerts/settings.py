"""Settings of alerts: how they are evaluated, and how people are told."""

import ipaddress
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from iotistic.kernel.settings import Settings


class AlertSettings(Settings):
    """How rules are evaluated."""

    alert_round_s: float = Field(default=2.0, gt=0, le=3600)
    """Seconds between two looks at one rule."""
    alert_settle_s: float = Field(default=5.0, ge=0, le=600)
    """Seconds that a reading may take to arrive, or come out of order, and still be judged in its turn. Alerts
    come later by as much; what takes longer is judged again, see the page on alerts."""
    alert_late_reach_s: float = Field(default=6 * 3600.0, gt=0, le=7 * 86_400)
    """Seconds after a late reading that are judged again because of it."""
    alert_readings_per_round: int = Field(default=500_000, ge=1000, le=10_000_000)
    """Readings that one look at a rule takes in, about: how much memory catching up costs."""
    alert_backtest_readings: int = Field(default=2_000_000, ge=1000, le=100_000_000)
    """Readings that one backtest judges at most."""
    alert_backtest_s: float = Field(default=20.0, gt=0, le=600)
    """Seconds that one backtest takes at most."""
    alert_days: int = Field(default=365, ge=1, le=3660)
    """Days that alerts which are over are kept."""
    alert_deliveries_days: int = Field(default=30, ge=1, le=3660)
    """Days that messages are kept after they were delivered or given up."""


class DeliverySettings(Settings):
    """How webhooks are sent."""

    alert_signing_secret: SecretStr = Field(min_length=32)
    """Secrets of webhooks are derived from it, at least 32 random characters; the same for every process of an
    installation. Another one makes every receiver's secret wrong."""
    alert_webhook_networks: str = ""
    """Private networks that webhooks may go to, as CIDR with commas between. Without them a webhook goes to public
    addresses only: nobody makes this server ask its own network."""
    alert_webhook_plain: bool = False
    """Whether webhooks may go over http without TLS."""
    alert_webhook_timeout_s: float = Field(default=10.0, gt=0, le=120)
    """Seconds until an attempt is given up."""
    alert_attempts: int = Field(default=12, ge=1, le=100)
    """Attempts until a message is given up; with doubled pauses, twelve are about six hours."""
    alert_retry_first_s: float = Field(default=5.0, gt=0, le=3600)
    """Seconds until the second attempt; each pause is twice the one before, less up to half by chance."""
    alert_retry_most_s: float = Field(default=3600.0, gt=0, le=86_400)
    """Longest pause in seconds."""
    alert_circuit_failures: int = Field(default=5, ge=1, le=1000)
    """Failures in a row after which a target is left alone for a while."""
    alert_circuit_s: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds that a failing target is left alone; then one message tries."""
    alert_secret_grace_s: float = Field(default=86_400.0, gt=0, le=30 * 86_400)
    """Seconds after a rotation in which messages are signed with the former secret as well."""

    @field_validator("alert_webhook_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in value.split(","):
            if part.strip():
                ipaddress.ip_network(part.strip())
        return value


class MailSettings(Settings):
    """The SMTP server that mails go through; without a host there is no mail."""

    smtp_host: str = ""
    """Name of the server."""
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    """Its port: 587 with STARTTLS, 465 with TLS from the start."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` refuses a server that does not offer it; `none` sends in plain and logs in nowhere."""
    smtp_username: str = ""
    """Who logs in; empty: nobody."""
    smtp_password: SecretStr | None = None
    """Password of that user; SMTP_PASSWORD_FILE keeps it out of the environment."""
    smtp_from: str = "iotistic@localhost"
    """Sender of the mails."""
    smtp_timeout_s: float = Field(default=20.0, gt=0, le=300)
    """Seconds that one step of the conversation may take."""
    smtp_ca_file: str = ""
    """Certificates that the server's is checked against; empty: those of the machine."""
