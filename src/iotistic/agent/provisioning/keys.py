"""The API key of a device and the one before it, on the disk and in use; and the cloud's word on keys."""

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, cast

from iotistic.agent.link.errors import CloudUnintelligible
from iotistic.agent.link.transport import CloudTransport
from iotistic.agent.store.endpoints import MetadataStore
from iotistic.contracts.provisioning.fields import ProvisioningInvalid
from iotistic.contracts.provisioning.rotation import (
    RotatedKey,
    key_status_path,
    read_key_status,
    read_rotated,
    rotate_key_path,
)

_NAME = "api_keys"


class KeyService(Protocol):
    """The cloud's word on keys. Everything raises the link's errors; CloudDenied: this key is not good."""

    async def valid_until(self, api_key: str) -> float | None:
        """Return when a key ends (seconds since 1970), None when it does not."""
        ...

    async def rotate(self, api_key: str) -> RotatedKey:
        """Return a new key; the one that asked stays good for a while."""
        ...


class CloudKeys:
    """KeyService over HTTP."""

    def __init__(self, transport: CloudTransport, uuid: str) -> None:
        self._transport, self._uuid = transport, uuid

    async def valid_until(self, api_key: str) -> float | None:
        """Return when a key ends."""
        answer = await self._transport.ask("GET", key_status_path(self._uuid), headers=_by(api_key))
        try:
            return read_key_status(answer.document())
        except ProvisioningInvalid as exc:
            raise CloudUnintelligible(exc.message) from exc

    async def rotate(self, api_key: str) -> RotatedKey:
        """Return a new key."""
        path = rotate_key_path(self._uuid)
        answer = await self._transport.ask("POST", path, body={}, headers=_by(api_key))
        try:
            return read_rotated(answer.document())
        except ProvisioningInvalid as exc:
            raise CloudUnintelligible(exc.message) from exc


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """What is known of the key before this one. Times in seconds since 1970."""

    previous: str = field(default="", repr=False)
    previous_until: float = 0.0
    rotated_at: float | None = None


class KeyHistoryStore:
    """Where it is kept."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def load(self) -> KeyHistory:
        """Return it; nothing when it cannot be read."""
        kept = (await self._metadata.load()).get(_NAME)
        try:
            fields = cast("dict[str, Any]", dict(kept or {}))
            rotated_at = fields.get("rotated_at")
            return KeyHistory(
                str(fields.get("previous", "")),
                float(fields.get("previous_until", 0.0)),
                None if rotated_at is None else float(rotated_at),
            )
        except (TypeError, ValueError):
            return KeyHistory()

    async def save(self, history: KeyHistory) -> None:
        """Keep it. Raises StoreUnavailable."""
        await self._metadata.put(_NAME, asdict(history))


def _by(api_key: str) -> dict[str, str]:
    return {"X-Device-API-Key": api_key}
