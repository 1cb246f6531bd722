"""The key of the device API: made at the first start, kept with the identity, and in a file for iotctl."""

import secrets
from pathlib import Path
from typing import Any, Protocol

import structlog

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.files import PRIVATE, write_atomic

log = structlog.get_logger()
_PREFIX = "dev_"


class Identities(Protocol):
    """Where the identity of the device is kept."""

    async def load(self) -> Any:
        """Return the identity: `local_api_key` of it is read."""
        ...

    async def change(self, **values: Any) -> Any:
        """Change some fields. Raises StoreUnavailable."""
        ...


class LocalKey:
    """The key of one device."""

    def __init__(self, identities: Identities, file: Path) -> None:
        self._identities, self._file = identities, file
        self.text = ""
        """The key that is in force."""

    async def ensure(self, given: str = "") -> str:
        """Return the key: the one that was given, or the one that is kept, or a new one.

        On a disk that takes no writes a new one lives as long as the process.
        """
        kept: str = (await self._identities.load()).local_api_key
        await self._use(given or kept or _PREFIX + secrets.token_urlsafe(32), kept)
        return self.text

    async def keep(self) -> None:
        """Keep the key through a deprovisioning, which is about the cloud only."""
        await self._use(self.text, "")

    async def renew(self) -> str:
        """Make another key: after a factory reset the device belongs to somebody else."""
        await self._use(_PREFIX + secrets.token_urlsafe(32), "")
        return self.text

    async def _use(self, text: str, kept: str) -> None:
        self.text = text
        try:
            if text != kept:
                await self._identities.change(local_api_key=text)
            if self._written() != text:
                write_atomic(self._file, text + "\n", mode=PRIVATE)
        except (IotisticError, OSError) as exc:
            log.warning("device_api.key_not_kept", reason=str(exc))

    def _written(self) -> str:
        try:
            if self._file.stat().st_mode & 0o077:
                return ""
            return self._file.read_text("utf-8").strip()
        except (OSError, ValueError):
            return ""
