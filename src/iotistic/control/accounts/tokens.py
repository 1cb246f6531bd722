"""Access tokens (signed, short-lived), and the random secrets of refresh tokens and API keys.

    iotr_<24 hex>_<256 bits>   refresh token     iotk_<12 hex>_<256 bits>   API key

The part in the middle finds the row; the SHA-256 of the whole is compared in constant time.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import jwt
from pydantic import SecretStr

from iotistic.control.accounts.model import User
from iotistic.kernel.web.auth import digest

# What dashboards of the earlier system expect to find in a token.
_ISSUER = "iotistic-api"
_AUDIENCE = "iotistic-dashboard"
_ALGORITHM = "HS256"
_NEEDED = ["exp", "iat", "iss", "aud", "sub", "sid", "type"]
_LONGEST = 4096  # characters


@dataclass(frozen=True)
class Secret:
    """A random secret that was just made: `shown` is given to its holder once, the rest is kept."""

    id: str
    digest: bytes
    shown: SecretStr


@dataclass(frozen=True)
class SecretKind:
    """Secrets that look alike: `prefix_<id of so many bytes in hex>_<256 bits>`."""

    prefix: str
    id_bytes: int

    def make(self) -> Secret:
        """Return a new one."""
        made_id = secrets.token_hex(self.id_bytes)
        whole = f"{self.prefix}_{made_id}_{secrets.token_urlsafe(32)}"
        return Secret(made_id, digest(whole), SecretStr(whole))

    def id_of(self, presented: str) -> str | None:
        """Return the id in what was presented; None for what has another shape."""
        found = re.fullmatch(
            rf"{self.prefix}_([0-9a-f]{{{self.id_bytes * 2}}})_[A-Za-z0-9_-]{{43}}", presented
        )
        return found[1] if found else None


REFRESH = SecretKind("iotr", 12)
API_KEY = SecretKind("iotk", 6)


@dataclass(frozen=True)
class Claims:
    """What an access token says that we rely on; the rest is for dashboards to show."""

    user_id: UUID
    session_id: UUID
    is_over: bool


class AccessTokens:
    """Signs and reads access tokens."""

    def __init__(self, secret: SecretStr, *, lifetime: timedelta) -> None:
        self._secret = secret.get_secret_value()
        self._lifetime = lifetime

    @property
    def lifetime_s(self) -> int:
        """Seconds that a token lives."""
        return round(self._lifetime.total_seconds())

    def sign(self, user: User, session_id: UUID, now: datetime) -> str:
        """Return a token for a session of `user`."""
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(user.id),
            "sid": str(session_id),
            "iat": int(now.timestamp()),
            "exp": int((now + self._lifetime).timestamp()),
            "type": "access",
            "userId": str(user.id),
            "username": user.username,
            "email": user.email,
            "role": user.role.value,
        }
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def read(self, token: str, now: datetime) -> Claims | None:
        """Return the claims of a token that we signed, also of one that is over; None for every other."""
        if len(token) > _LONGEST:
            return None
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                # Time is compared below, with the clock that everything here uses.
                options={"require": _NEEDED, "verify_exp": False, "verify_iat": False},
            )
            if claims["type"] != "access":
                return None
            is_over = float(claims["exp"]) <= now.timestamp()
            return Claims(UUID(claims["sub"]), UUID(claims["sid"]), is_over)
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, RecursionError):
            return None
