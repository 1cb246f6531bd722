"""Sees to it that a device that should be known to a cloud becomes so, and takes its leave when it is told to.

Tries go on for as long as there is hope: after a failure that may pass, 15 s and then longer; a refusal
stands until somebody asks again. Only one thing is done at a time.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import structlog

from iotistic.agent.link.pacing import Pace
from iotistic.agent.link.transport import CloudAddress, CloudTransport
from iotistic.agent.provisioning.certificate import RENEWAL
from iotistic.agent.provisioning.door import Door
from iotistic.agent.provisioning.errors import REFUSALS, AlreadyProvisioned, DiskNotKept, RequestInvalid
from iotistic.agent.provisioning.keeping import Progress, ProgressStore
from iotistic.agent.provisioning.model import (
    DeviceFacts,
    Farewell,
    ProvisioningRequest,
    ProvisioningState,
    ProvisioningStatus,
    address_of,
    base_url,
)
from iotistic.agent.store.device import Identity
from iotistic.agent.store.store import Store
from iotistic.contracts.provisioning.answers import is_http_url
from iotistic.kernel.errors import IotisticError, Unavailable

log = structlog.get_logger()

_SPREAD = 0.3
_KEYS = "api_keys"
_INTERVAL_S = 3600.0


@dataclass(frozen=True)
class Around:
    """What provisioning needs: the time, chance between 0 and 1, what the device tells of itself, a way out."""

    clock: Callable[[], float]
    chance: Callable[[], float]
    facts: DeviceFacts = field(default_factory=DeviceFacts)
    connect: Callable[[CloudAddress], CloudTransport] = CloudTransport


class Provisioner:
    """Made by `open`."""

    def __init__(self, store: Store, around: Around, identity: Identity, progress: Progress) -> None:
        self._store, self._around = store, around
        self._progress_store = ProgressStore(store.metadata)
        self._identity, self._progress = identity, progress
        self._pace = Pace(identity.uuid, _INTERVAL_S)
        self._problem: IotisticError | None = None
        self._next_at = 0.0
        self._wake, self._changed = asyncio.Event(), asyncio.Event()
        self._one = asyncio.Lock()

    @classmethod
    async def open(cls, store: Store, around: Around) -> Self:
        """Return it as it was left. Raises StoreUnavailable."""
        return cls(store, around, await store.device.load(), await ProgressStore(store.metadata).load())

    async def begin_with(self, request: ProvisioningRequest | None) -> None:
        """Take up what the environment asks for, unless the device is provisioned or it asked for that before.

        Raises RequestInvalid.
        """
        checked = None if request is None else request.checked()
        if checked is None or checked.fingerprint in (self._progress.environment, self._progress.taken):
            return
        async with self._one:
            if not self._identity.provisioned:
                await self._take(checked)
            await self._keep(replace(self._progress, environment=checked.fingerprint))

    def status(self) -> ProvisioningStatus:
        """Return how the device stands with its cloud."""
        identity, problem = self._identity, self._problem
        is_refused = isinstance(problem, REFUSALS)
        is_waiting = self._is_wanted and problem is not None and not is_refused
        return ProvisioningStatus(
            provisioned=identity.provisioned,
            uuid=identity.uuid,
            device_id=identity.device_id,
            device_name=identity.device_name,
            api_endpoint=identity.api_endpoint,
            has_provisioning_key=bool(identity.provisioning_key),
            mqtt_configured=bool(identity.mqtt_broker_url and identity.mqtt_username),
            state=ProvisioningState.PROVISIONED if identity.provisioned else self._progress.state,
            problem="" if problem is None else problem.message,
            problem_code="" if problem is None else problem.code,
            is_refused=is_refused,
            next_try_at=self._next_at if is_waiting else None,
        )

    async def until(self, *, provisioned: bool) -> Identity:
        """Return the device as soon as it is provisioned, or is not."""
        while self._identity.provisioned is not provisioned:
            await self._changed.wait()
        return self._identity

    async def run(self) -> None:
        """Provision the device whenever that is asked for, until cancelled."""
        while True:
            self._wake.clear()
            if self._is_due:
                await self._try()
            rest_s = max(0.0, self._next_at - self._around.clock()) if self._is_hopeful else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._wake.wait()

    async def provision(self, request: ProvisioningRequest) -> ProvisioningStatus:
        """Provision the device now.

        Raises AlreadyProvisioned, RequestInvalid and the refusals of this room; for anything else that is raised
        (the link's errors, StoreUnavailable) `run` goes on trying.
        """
        self._refuse_twice()  # before the request is looked at: what it lacks is of no use then
        checked = request.checked()
        async with self._one:
            self._refuse_twice()
            await self._take(checked)
            await self._attempt()
        return self.status()

    def _refuse_twice(self) -> None:
        if self._identity.provisioned:
            raise AlreadyProvisioned(uuid=self._identity.uuid, api_endpoint=self._identity.api_endpoint)

    async def move(self, api_endpoint: str) -> None:
        """Speak with the same cloud under another address from now on; nothing is asked of it. Raises RequestInvalid."""
        if not is_http_url(api_endpoint.strip()):
            raise RequestInvalid("the endpoint is not a URL like https://cloud.example/api/v1")
        async with self._one:
            if self._identity.provisioned:
                url = base_url(api_endpoint.strip())
                self._now(await self._store.device.change(api_endpoint=url))
                log.info("device.cloud_moved", api_endpoint=url)

    async def deprovision(self) -> Farewell:
        """Take leave of the cloud and forget it; uuid and keys stay, so that the device can come back as itself."""
        async with self._one:
            farewell = await self._take_leave()
            forgotten = replace(
                Identity(self._identity.uuid),
                device_api_key=self._identity.device_api_key,
                private_key=self._identity.private_key,
            )
            await self._forget()
            identity = await self._store.device.change(**_values(forgotten))
            self._now(identity)
        log.info("device.deprovisioned", device_uuid=identity.uuid, is_cloud_told=farewell.is_cloud_told)
        return farewell

    async def factory_reset(self) -> Farewell:
        """Take leave of the cloud and forget everything but the uuid."""
        async with self._one:
            farewell = await self._take_leave()
            identity = await self._store.factory_reset()
            self._progress = Progress()
            self._now(identity)
        log.info("device.reset", device_uuid=identity.uuid, is_cloud_told=farewell.is_cloud_told)
        return farewell

    @property
    def _is_wanted(self) -> bool:
        identity = self._identity
        return not identity.provisioned and bool(identity.provisioning_key and identity.api_endpoint)

    @property
    def _is_hopeful(self) -> bool:
        return self._is_wanted and not isinstance(self._problem, REFUSALS)

    @property
    def _is_due(self) -> bool:
        return self._is_hopeful and self._around.clock() >= self._next_at

    async def _try(self) -> None:
        async with self._one:
            if not self._is_due:
                return
            try:
                await self._attempt()
            except IotisticError as exc:
                log.warning("provisioning.failed", code=exc.code, reason=exc.message, next_at=self._next_at)

    async def _attempt(self) -> None:
        """Try once, and note how it went."""
        # Keys and X.509 with it: 3 MB that a device which is known does without from its next start on.
        from iotistic.agent.provisioning.becoming import Becoming  # noqa: PLC0415

        becoming = Becoming(
            self._store.device,
            self._progress_store,
            self._progress,
            self._identity,
            facts=self._around.facts,
            connect=self._around.connect,
            clock=self._around.clock,
        )
        try:
            if not self._store.database.is_kept:
                raise DiskNotKept
            await becoming.go_on()
        except IotisticError as exc:
            self._failed(exc)
            raise
        finally:
            self._progress, self._identity = becoming.progress, becoming.identity
        self._now(becoming.identity)

    def _failed(self, exc: IotisticError) -> None:
        self._problem = exc
        chance = self._around.chance()
        told_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0.0
        # A cloud tells all devices the same: each adds something of its own.
        spread_s = told_s * (1 + _SPREAD * chance)
        self._next_at = self._pace.failed(self._around.clock(), chance, retry_after_s=spread_s)
        self._wake.set()

    async def _take(self, request: ProvisioningRequest) -> None:
        """Write down what is asked for; the same request that is under way goes on."""
        tls = {"caCert": request.ca_pem} if request.ca_pem else {}
        identity = await self._store.device.change(
            provisioning_key=request.provisioning_key,
            api_endpoint=request.api_endpoint,
            device_name=request.device_name,
            device_type=request.device_type,
            application_id=request.application_id,
            api_tls_config=tls,
        )
        if not (self._progress.is_under_way and self._progress.taken == request.fingerprint):
            await self._keep(self._progress.ended(ProvisioningState.NEW, taken=request.fingerprint))
        if request.api_endpoint.startswith("http:"):
            log.warning("provisioning.without_tls", api_endpoint=request.api_endpoint)
        self._now(identity)

    async def _take_leave(self) -> Farewell:
        identity = self._identity = await self._store.device.load()  # its keys may have been renewed since
        if not (identity.provisioned or self._progress.is_under_way) or not identity.api_endpoint:
            return Farewell(is_cloud_told=False, reason="no cloud knows the device")
        transport = self._around.connect(address_of(identity))
        try:
            await Door(transport, identity.uuid).leave(identity.device_api_key)
        except IotisticError as exc:
            log.warning("device.leave_not_told", device_uuid=identity.uuid, code=exc.code, reason=exc.message)
            return Farewell(is_cloud_told=False, reason=exc.message)
        finally:
            await transport.close()
        return Farewell(is_cloud_told=True)

    async def _forget(self) -> None:
        await self._keep(self._progress.ended(ProvisioningState.NEW))
        for name in (_KEYS, RENEWAL):
            await self._store.metadata.put(name, None)

    async def _keep(self, progress: Progress) -> None:
        await self._progress_store.save(progress)
        self._progress = progress

    def _now(self, identity: Identity) -> None:
        """Note how the device is now, and tell who waits for it."""
        self._identity, self._problem, self._next_at, self._pace.failures = identity, None, 0.0, 0
        self._wake.set()
        self._changed.set()
        self._changed = asyncio.Event()


def _values(identity: Identity) -> dict[str, Any]:
    return {one.name: getattr(identity, one.name) for one in fields(Identity)}
