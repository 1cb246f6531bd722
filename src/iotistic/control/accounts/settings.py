"""Settings of people's accounts."""

from pydantic import Field, SecretStr

from iotistic.kernel.settings import Settings


class PasswordSettings(Settings):
    """Which passwords are accepted."""

    password_min_length: int = Field(default=10, ge=8, le=64)
    """Characters that a new password has at least."""


class AccountSettings(PasswordSettings):
    """Sessions of people, and how often somebody may try to log in."""

    jwt_secret: SecretStr = Field(min_length=32)
    """Signs access tokens, at least 32 random characters; the same for every API process of an installation.
    Whoever knows it still needs a session that is open: tokens are compared with the database."""
    access_token_minutes: float = Field(default=15, gt=0, le=24 * 60)
    """Minutes until an access token has to be refreshed."""
    session_days: float = Field(default=7, gt=0, le=365)
    """Days without a refresh after which a session ends."""
    password_threads: int = Field(default=1, ge=1, le=32)
    """Passwords hashed at the same time, 150 ms and 64 MiB each, in processes of low priority. As many as there are
    processors make everybody wait while many people log in."""
    password_queue: int = Field(default=64, ge=1, le=10_000)
    """Logins that may wait for a thread; further ones are asked to come back in a moment."""
    login_limit_account: int = Field(default=5, ge=1)
    """Attempts at one account from one address in 15 minutes, counted anew after a right password."""
    login_limit_address: int = Field(default=30, ge=1)
    """Logins from one address (of IPv6, one /64) in 15 minutes, right or wrong."""
    login_limit_everywhere: int = Field(default=100, ge=1)
    """Attempts at one account in an hour from all addresses together; past it nobody gets in by password until the
    hour is over. Sessions go on."""
