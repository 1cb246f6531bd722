"""How far provisioning came, on the disk: what a process that was killed goes on with."""

import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import structlog

from iotistic.agent.provisioning.model import ProvisioningState
from iotistic.agent.store.endpoints import MetadataStore

log = structlog.get_logger()

_NAME = "provisioning"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it came."""

    state: ProvisioningState = ProvisioningState.NEW
    idempotency_key: str = field(default="", repr=False)
    """Names this registration, however often it is asked for."""
    taken: str = ""
    """Fingerprint of the request that was taken up last."""
    environment: str = ""
    """Fingerprint of what the environment asked for last, whether it was taken up or not."""
    challenge: str = field(default="", repr=False)
    """To be signed in the last step."""
    offered_endpoint: str = ""
    """Where the cloud wants to be spoken to from now on; it is tried before it is believed."""
    offered_ca: str = field(default="", repr=False)

    @property
    def is_under_way(self) -> bool:
        """Whether the cloud may have heard of it."""
        return self.state not in (ProvisioningState.NEW, ProvisioningState.PROVISIONED)

    def begun(self) -> "Progress":
        """Return the same request at its beginning, under a new name."""
        return replace(self.ended(ProvisioningState.REGISTERING), idempotency_key=secrets.token_hex(16))

    def ended(self, state: ProvisioningState, **values: str) -> "Progress":
        """Return it with nothing under way but what was asked for."""
        return replace(Progress(state, taken=self.taken, environment=self.environment), **values)

    def at(self, state: ProvisioningState, **values: str) -> "Progress":
        """Return it one step on."""
        return replace(self, state=state, **values)


class ProgressStore:
    """Where it is kept."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def load(self) -> Progress:
        """Return how far it came; what cannot be read is the beginning."""
        kept = (await self._metadata.load()).get(_NAME)
        if kept is None:
            return Progress()
        try:
            fields = cast("dict[str, Any]", dict(kept))
            state = ProvisioningState(fields.pop("state"))
            texts = {name: str(fields[name]) for name in Progress.__slots__ if name in fields}
            return Progress(state, **texts)
        except (KeyError, TypeError, ValueError) as exc:
            log.warning("provisioning.progress_unreadable", reason=str(exc))
            return Progress()

    async def save(self, progress: Progress) -> None:
        """Keep it. Raises StoreUnavailable."""
        await self._metadata.put(_NAME, asdict(progress))
