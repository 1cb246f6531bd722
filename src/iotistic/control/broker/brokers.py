"""Brokers that devices can be sent to: their address, their CA, and how somebody logs in there.

A CA is read before it is kept. Passwords have to be shown to the broker, so they are encrypted (AES-256-GCM) with a
key of the installation, bound to the broker's name, and answered to nobody.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import asyncpg
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from iotistic.control.broker.service import utc_now
from iotistic.kernel.errors import Conflict, Invalid, NotFound
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_COLUMNS = (
    "id, name, protocol, host, port, username, password_sealed IS NOT NULL AS has_password, ca_pem, "
    "verify_certificate, keep_alive_s, clean_session, is_default, created_at, updated_at"
)
_CHANGED = (
    "protocol",
    "host",
    "port",
    "username",
    "ca_pem",
    "verify_certificate",
    "keep_alive_s",
    "clean_session",
)
_MOST_BROKERS = 100
_NONCE_BYTES = 12


class BrokerUnknown(NotFound):
    """There is no such broker configuration."""

    code = "mqtt.broker_unknown"


class BrokerExists(Conflict):
    """There is a broker configuration of this name already."""

    code = "mqtt.broker_exists"


class BrokersTooMany(Conflict):
    """There are as many broker configurations as there may be."""

    code = "mqtt.brokers_too_many"


class CaInvalid(Invalid):
    """The CA is not a certificate of an authority in PEM."""

    code = "mqtt.ca_invalid"


class SealMissing(Invalid):
    """This server has no secret to encrypt passwords with."""

    code = "mqtt.seal_missing"


class SealBroken(Conflict):
    """The password was encrypted with another secret."""

    code = "mqtt.seal_broken"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerRow:
    """A configuration, without its password."""

    id: int
    name: str
    protocol: str
    host: str
    port: int
    username: str
    has_password: bool
    ca_pem: str = field(repr=False)
    verify_certificate: bool
    keep_alive_s: int
    clean_session: bool
    is_default: bool
    created_at: datetime
    updated_at: datetime


class Seal:
    """Encrypts passwords of brokers."""

    def __init__(self, secret: SecretStr | None) -> None:
        plain = secret.get_secret_value().encode() if secret else b""
        self._key = AESGCM(sha256(b"mqtt-brokers\0" + plain).digest()) if plain else None

    def close(self, name: str, password: SecretStr) -> bytes:
        """Return what is kept. Raises SealMissing."""
        if self._key is None:
            raise SealMissing(hint="set BROKER_SECRET_FILE")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._key.encrypt(nonce, password.get_secret_value().encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> SecretStr:
        """Return the password of the broker `name`. Raises SealMissing, SealBroken."""
        if self._key is None:
            raise SealMissing(hint="set BROKER_SECRET_FILE")
        try:
            plain = self._key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except InvalidTag as exc:
            raise SealBroken(hint="set the password anew") from exc
        return SecretStr(plain.decode())


def check_ca(pem: str) -> str:
    """Return the certificates of a CA; empty stands for those of the system. Raises CaInvalid."""
    if not pem.strip():
        return ""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        for certificate in found:
            if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise CaInvalid("a certificate in it is not that of an authority")
    except (ValueError, x509.ExtensionNotFound) as exc:
        raise CaInvalid(
            hint="send certificates with BEGIN CERTIFICATE and END CERTIFICATE, and nothing else"
        ) from exc
    return pem.strip() + "\n"


class BrokerService:
    """The use cases."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool, self._seal, self._clock = pool, seal, clock

    async def list_all(self) -> list[BrokerRow]:
        """Return every configuration by name."""
        with database_errors():
            rows = await self._pool.fetch(f"SELECT {_COLUMNS} FROM mqtt_brokers ORDER BY name")  # noqa: S608  constant
        return [BrokerRow(**dict(row)) for row in rows]

    async def find(self, broker_id: int) -> BrokerRow:
        """Return one. Raises BrokerUnknown."""
        with database_errors():
            row = await self._pool.fetchrow(f"SELECT {_COLUMNS} FROM mqtt_brokers WHERE id = $1", broker_id)  # noqa: S608  constant
        if row is None:
            raise BrokerUnknown(id=broker_id)
        return BrokerRow(**dict(row))

    async def default(self) -> BrokerRow | None:
        """Return the one that devices are sent to when nothing else is said; None when there is none."""
        return next((one for one in await self.list_all() if one.is_default), None)

    async def password(self, broker_id: int) -> SecretStr | None:
        """Return the password, for whoever connects. Raises BrokerUnknown, SealMissing, SealBroken."""
        broker = await self.find(broker_id)
        with database_errors():
            sealed = await self._pool.fetchval(
                "SELECT password_sealed FROM mqtt_brokers WHERE id = $1", broker_id
            )
        return None if sealed is None else self._seal.open(broker.name, sealed)

    async def create(
        self, name: str, given: dict[str, Any], password: SecretStr | None, *, by: str
    ) -> BrokerRow:
        """Keep a configuration. Raises BrokerExists, BrokersTooMany, CaInvalid, SealMissing."""
        values = {**given, "ca_pem": check_ca(given.get("ca_pem", ""))}
        sealed = self._seal.close(name, password) if password else None
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                if given.get("is_default"):
                    await _lock_default(db)
                if await db.fetchval("SELECT count(*) FROM mqtt_brokers") >= _MOST_BROKERS:
                    raise BrokersTooMany(limit=_MOST_BROKERS)
                broker_id = await db.fetchval(
                    f"INSERT INTO mqtt_brokers (name, {', '.join(_CHANGED)}, password_sealed, created_at, updated_at) "  # noqa: S608  constants
                    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) "
                    "ON CONFLICT (name) DO NOTHING RETURNING id",
                    name,
                    *(values[column] for column in _CHANGED),
                    sealed,
                    self._clock(),
                )
                if broker_id is None:
                    raise BrokerExists(name=name)
                if given.get("is_default"):
                    await _make_default(db, broker_id)
        log.info("mqtt_broker.created", broker_id=broker_id, by=by)
        return await self.find(broker_id)

    async def change(
        self, broker_id: int, given: dict[str, Any], password: SecretStr | None, *, by: str
    ) -> BrokerRow:
        """Change what is given; a name stays. Raises BrokerUnknown, CaInvalid, SealMissing."""
        broker = await self.find(broker_id)
        values = {column: given.get(column) for column in _CHANGED}
        if values["ca_pem"] is not None:
            values["ca_pem"] = check_ca(values["ca_pem"])
        sealed = self._seal.close(broker.name, password) if password else None
        settings = ", ".join(f"{column} = coalesce(${at}, {column})" for at, column in enumerate(_CHANGED, 4))
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                if given.get("is_default"):
                    await _lock_default(db)
                await db.execute(
                    f"UPDATE mqtt_brokers SET password_sealed = coalesce($2, password_sealed), updated_at = $3, "  # noqa: S608  constants
                    f"{settings} WHERE id = $1",
                    broker_id,
                    sealed,
                    self._clock(),
                    *(values[column] for column in _CHANGED),
                )
                if given.get("is_default"):
                    await _make_default(db, broker_id)
        log.info("mqtt_broker.changed", broker_id=broker_id, by=by)
        return await self.find(broker_id)

    async def remove(self, broker_id: int, *, by: str) -> None:
        """Forget a configuration. Raises BrokerUnknown."""
        with database_errors():
            found = await self._pool.fetchval(
                "DELETE FROM mqtt_brokers WHERE id = $1 RETURNING id", broker_id
            )
        if found is None:
            raise BrokerUnknown(id=broker_id)
        log.info("mqtt_broker.removed", broker_id=broker_id, by=by)


async def _lock_default(db: Any) -> None:
    """Let nobody else make one the default; before any row is changed, or two would wait for each other."""
    await db.execute("LOCK TABLE mqtt_brokers IN SHARE ROW EXCLUSIVE MODE")


async def _make_default(db: Any, broker_id: int) -> None:
    await db.execute("UPDATE mqtt_brokers SET is_default = false WHERE is_default AND id <> $1", broker_id)
    await db.execute("UPDATE mqtt_brokers SET is_default = true WHERE id = $1", broker_id)
