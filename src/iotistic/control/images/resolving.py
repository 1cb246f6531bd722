"""Tags become digests, as far as registries say: what cannot be looked up stays as it is, and is told.

A tag that is moved while a fleet is deployed to would give each device another image; a digest cannot.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from iotistic.control.images.client import RegistryClient
from iotistic.control.images.model import Pins, Reference, is_pinned, reference_of, with_digest
from iotistic.control.images.registries import Registries
from iotistic.control.images.settings import ImageSettings
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_AT_ONCE = 8
_MOST_KEPT = 4096
_MOST_IMAGES = 200


class ImageResolver:
    """Asks registries, some at once, and remembers for a while."""

    def __init__(
        self,
        registries: Registries,
        settings: ImageSettings,
        *,
        client: RegistryClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registries, self._clock = registries, clock
        self.is_usual = settings.image_resolve
        """Whether deployments look up what they do not speak of."""
        self._keep_s = settings.image_digest_cache_s
        self._client = client or RegistryClient(
            networks=settings.image_registry_networks, timeout_s=settings.image_registry_timeout_s
        )
        self._kept: dict[Reference, tuple[float, str]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def pins(self, images: Iterable[str]) -> Pins:
        """Return what tags stand for; raises nothing for an image that cannot be looked up."""
        asked = [image for image in dict.fromkeys(images) if not is_pinned(image)]
        results = await asyncio.gather(*(self._pin(image) for image in asked[:_MOST_IMAGES]))
        found, missed = dict[str, str](), dict[str, tuple[str, str]]()
        for image, result in zip(asked, results, strict=False):
            if isinstance(result, str):
                found[image] = result
            else:
                missed[image] = (result.code, result.message)
                log.info("image.not_resolved", image=image, code=result.code)
        missed |= dict.fromkeys(asked[_MOST_IMAGES:], ("image.too_many", "too many at once"))
        return Pins(found, missed)

    def forget(self) -> None:
        """Ask anew: how registries are spoken to has changed."""
        self._kept.clear()

    async def _pin(self, image: str) -> str | IotisticError:
        try:
            return with_digest(image, await self._digest(reference_of(image)))
        except IotisticError as exc:
            return exc

    async def _digest(self, reference: Reference) -> str:
        kept = self._kept.get(reference)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        async with self._turns:
            registry = await self._registries.find(reference.host)
            digest = await self._client.digest(reference, registry)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[reference] = self._clock() + self._keep_s, digest
        return digest
