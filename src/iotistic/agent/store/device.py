"""Who this device is: made once, kept through everything, and known to the cloud by its keys.

The identity also lies sealed in a small file beside the database, so that a database that broke does not
make a stranger of the device. The database has the last word.
"""

import asyncio
import contextlib
import secrets
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import structlog

from iotistic.agent.store.database import Database
from iotistic.agent.store.errors import SealBroken, StoreUnavailable
from iotistic.agent.store.sealing import Sealer
from iotistic.kernel.files import write_atomic

log = structlog.get_logger()

_PLACE = "device"
_NONE: Mapping[str, Any] = {}


def _secret() -> Any:
    return field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """The device as the cloud knows it; texts are empty while they are not known. Times in seconds since 1970."""

    uuid: str
    device_api_key: str = _secret()
    """Proves to the cloud who speaks."""
    device_id: str = ""
    device_name: str = ""
    device_type: str = ""
    provisioned: bool = False
    provisioning_key: str = _secret()
    """Dropped as soon as the device is provisioned."""
    private_key: str = _secret()
    """PEM, of the certificate and of the proof of possession."""
    certificate: str = ""
    api_endpoint: str = ""
    registered_at: float | None = None
    application_id: str = ""
    mac_address: str = ""
    os_version: str = ""
    agent_version: str = ""
    local_api_key: str = _secret()
    mqtt_username: str = ""
    mqtt_password: str = _secret()
    mqtt_broker_url: str = ""
    mqtt_broker_config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    api_tls_config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


class DeviceStore:
    """The identity of the device. `beside` is the small file next to the database."""

    def __init__(self, database: Database, sealer: Sealer, beside: Path) -> None:
        self._database, self._sealer, self._beside = database, sealer, beside
        self._identity: Identity | None = None
        self._changing = asyncio.Lock()

    async def load(self) -> Identity:
        """Return the identity; the first start makes one. On a disk that takes no writes it lives as long as we do."""
        kept = await self._database.run(self._read)
        identity = kept or self._read_beside() or _fresh(str(uuid.uuid4()))
        if kept is None:
            log.info("device.identity_made" if identity.device_id == "" else "device.identity_restored")
            await self._put(identity)
        elif self._read_beside() != kept:
            await self._copy(kept)
        self._identity = identity
        return identity

    async def change(self, **values: Any) -> Identity:
        """Change some fields and return the whole. Raises StoreUnavailable; nothing is changed then."""
        async with self._changing:
            return await self._put(replace(self._identity or await self.load(), **values))

    async def deprovision(self) -> Identity:
        """Forget the cloud; uuid and device key stay, so that the device can come back as itself."""
        async with self._changing:
            before = self._identity or await self.load()
            return await self._put(Identity(before.uuid, before.device_api_key))

    async def factory_reset(self) -> Identity:
        """Forget everything but the uuid; a new device key is made."""
        async with self._changing:
            before = self._identity or await self.load()
            return await self._put(_fresh(before.uuid))

    async def _put(self, identity: Identity) -> Identity:
        sealed = self._sealer.seal_json(asdict(identity), _PLACE)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO device (id, sealed) VALUES (1, ?)", (sealed,))

        await self._database.run(work)
        self._identity = identity
        await self._copy(identity)
        return identity

    async def _copy(self, identity: Identity) -> None:
        """Write the copy, two waits for the disk, where nobody else waits with us."""
        with contextlib.suppress(StoreUnavailable):  # closed meanwhile: the next start writes it
            await self._database.aside(lambda: self._write_beside(identity))

    def _read(self, connection: sqlite3.Connection) -> Identity | None:
        row = connection.execute("SELECT sealed FROM device").fetchone()
        return None if row is None else self._opened(row[0])

    def _opened(self, sealed: bytes) -> Identity | None:
        try:
            kept = self._sealer.unseal_json(sealed, _PLACE)
        except SealBroken as exc:
            log.warning("device.identity_unreadable", reason=exc.message)
            return None
        known = {one.name for one in fields(Identity)}
        return Identity(**{name: value for name, value in kept.items() if name in known})

    def _read_beside(self) -> Identity | None:
        try:
            return self._opened(self._beside.read_bytes())
        except OSError:
            return None

    def _write_beside(self, identity: Identity) -> None:
        if not self._database.is_kept:
            return
        try:
            write_atomic(self._beside, self._sealer.seal_json(asdict(identity), _PLACE))
        except OSError as exc:
            log.warning("device.copy_failed", path=str(self._beside), reason=str(exc))


def _fresh(device_uuid: str) -> Identity:
    return Identity(device_uuid, secrets.token_urlsafe(32))
