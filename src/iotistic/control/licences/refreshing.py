"""Asks the seller for the licence in force, once a day; what it answers is verified like any other."""

import asyncio
import contextlib
import random
from typing import cast

import httpx2
import structlog
from pydantic import BaseModel, model_validator

from iotistic.control.access.model import Caller
from iotistic.control.licences.model import Licence
from iotistic.control.licences.service import LicenceService
from iotistic.control.licences.settings import LicenceSettings
from iotistic.kernel.errors import IotisticError, Unavailable

log = structlog.get_logger()

_EVERY_S, _RETRY_S = 86_400.0, 3_600.0
_WITHIN_S = 20.0
_LONGEST_ANSWER = 64 * 1024


class _Sold(BaseModel):
    """What the seller answers; the token may stand under either name, alone or in an object."""

    jwt: str

    @model_validator(mode="before")
    @classmethod
    def _unwrapped(cls, given: object) -> object:
        found: object = given
        for name in ("license", "data", "jwt"):
            if isinstance(found, dict):
                held = cast("dict[str, object]", found)
                found = held.get(name, held)
        return {"jwt": found}


class SellerMissing(Unavailable):
    """There is nobody to ask for a licence."""

    code = "billing.not_configured"


class SellerAway(Unavailable):
    """The seller does not answer."""

    code = "billing.unavailable"


class Refresher:
    """The background part, and the use case behind the button."""

    def __init__(self, service: LicenceService, settings: LicenceSettings) -> None:
        self._service, self._settings = service, settings
        self._stopping = asyncio.Event()

    async def refresh(self, *, by: Caller | None = None) -> Licence:
        """Take the licence that the seller gives. Raises SellerMissing, SellerAway, LicenceInvalid, LicenceEnded."""
        claims = (await self._service.current()).claims
        if not self._settings.billing_api_url or claims is None:
            raise SellerMissing(hint="set BILLING_API_URL, and install a first licence", retry_after_s=3600)
        base = self._settings.billing_api_url.rstrip("/")
        token = await self._service.token() or ""
        try:
            async with httpx2.AsyncClient(timeout=_WITHIN_S, follow_redirects=False) as client:
                answer = await client.get(
                    f"{base}/api/licenses/{claims.customer_id}", headers={"Authorization": f"Bearer {token}"}
                )
            answer.raise_for_status()
            fresh = _Sold.model_validate_json(answer.content[:_LONGEST_ANSWER])
        except (httpx2.HTTPError, ValueError) as exc:
            raise SellerAway(f"the seller at {base} gives no licence: {exc}", retry_after_s=60) from exc
        return await self._service.install(fresh.jwt, by=by)

    async def run(self) -> None:
        """Ask until `stop` is called; only where there is somebody to ask."""
        while not self._stopping.is_set():
            pause_s = _EVERY_S
            if self._settings.billing_api_url and self._settings.license_public_key:
                try:
                    await self.refresh()
                except IotisticError as exc:
                    log.warning("licence.not_refreshed", code=exc.code, reason=exc.message)
                    pause_s = _RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.9, 1.1)):  # noqa: S311  jitter
                    await self._stopping.wait()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
