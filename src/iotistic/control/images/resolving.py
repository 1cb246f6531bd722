"""Tags become digests, as far as registries say: what cannot be looked up stays as it is, and is told.

A tag that is moved while a fleet is deployed to would give each device another image; a digest cannot.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog

from iotistic.control.images.client import RegistryClient
from iotistic.control.images.model import Pins, Reference, is_pinned, manifest_of, reference_of, with_digest
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
        self._sizes: dict[Reference, tuple[float, int]] = {}
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

    async def look_up(self, images: Iterable[str], *, wanted: bool | None) -> Pins | None:
        """Do as `pins` where somebody wants it: the caller, or else the server's settings; None where nobody does."""
        return await self.pins(images) if (self.is_usual if wanted is None else wanted) else None

    async def sizes(self, images: Collection[str]) -> Mapping[str, int]:
        """Return the bytes to download of those images that can be looked up, by the names given.

        Where tags are not usually looked up, only registries that somebody described are asked: nobody has this
        server speak to others by looking at a fleet.
        """
        described = {one.host for one in await self._registries.list_all()}
        asked = [image for image in images if self.is_usual or _host_of(image) in described]
        results = await asyncio.gather(*(self._size_or_none(image) for image in asked[:_MOST_IMAGES]))
        return {image: size for image, size in zip(asked, results, strict=False) if size is not None}

    def forget(self) -> None:
        """Ask anew: how registries are spoken to has changed."""
        self._kept.clear()
        self._sizes.clear()

    async def _size_or_none(self, image: str) -> int | None:
        try:
            reference = manifest_of(image)
            kept = self._sizes.get(reference)
            if kept is not None and kept[0] > self._clock():
                return kept[1]
            size = await self._size(reference)
        except IotisticError as exc:
            log.info("image.size_unknown", image=image, code=exc.code)
            return None
        if len(self._sizes) >= _MOST_KEPT:
            self._sizes.clear()
        self._sizes[reference] = self._clock() + self._keep_s, size
        return size

    async def _size(self, reference: Reference) -> int:
        async with self._turns:
            registry = await self._registries.find(reference.host)
            return await self._client.size(reference, registry)

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


def _host_of(image: str) -> str:
    try:
        return manifest_of(image).host
    except IotisticError:
        return ""
