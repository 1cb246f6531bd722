"""Which Redis is used, if any."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from iotistic.kernel.settings import Settings

_SCHEMES = ("redis", "rediss", "unix")


class RedisSettings(Settings):
    """A Redis that several processes share; without one each process has its own cache and its own live feed."""

    redis_url: str | None = None
    """Address as redis://[USER@]HOST:PORT[/NUMBER], rediss:// for TLS, unix:// for a socket; unset means none.
    Installations that share a server need a database number each."""
    redis_password: SecretStr | None = None
    """Password of the user in the address; REDIS_PASSWORD_FILE keeps it out of the environment."""
    redis_timeout_ms: float = Field(default=20.0, gt=0, le=5000)
    """Milliseconds that a look-up waits for one answer of Redis before PostgreSQL is asked instead. It is waited
    once; then Redis is left alone until it answers again."""

    @field_validator("redis_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"starts with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
        if parts.password is not None:
            raise ValueError("holds no password: give that as REDIS_PASSWORD_FILE")
        if parts.scheme != "unix" and not parts.hostname:
            raise ValueError("names a host")
        _ = parts.port  # raises ValueError when it is no number
        return value
