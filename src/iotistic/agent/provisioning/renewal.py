"""Renews the device's certificate before it ends, with the device's API key: an expired one can be renewed too.

    due (a third of its life is left) -> the key of the next one is on the disk -> asked for -> it fits
    -> certificate and key are changed together on the disk -> the broker is connected to with it

Invariants:
- A certificate and its private key change in one write: a process that ends anywhere has a pair that fits.
- A new key is on the disk before the cloud hears of it, and is asked with again until its certificate is there.
- Nothing new is asked for unless the disk takes writes.
- Neither a clock that is wrong, nor a cloud whose certificates are of no use, has us ask more than once a day
  (a sixth of its life, for a certificate that is good for less than six days).

Keys and X.509 are loaded by the functions that need them: until a renewal is due, which is for months, an agent
knows the term of its certificate from the disk and does without those 3 MB.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import structlog

from iotistic.agent.link.errors import CloudDenied, CloudRefused
from iotistic.agent.link.pacing import Pace
from iotistic.agent.provisioning.certificate import (
    CertificateService,
    Renewal,
    RenewalStore,
    certificate_of,
    fingerprint,
    with_certificate,
)
from iotistic.agent.provisioning.errors import DiskNotKept
from iotistic.agent.store.device import Identity
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.agent.store.store import Store
from iotistic.contracts.provisioning.certificates import (
    CertificateUnfit,
    NextCertificate,
    Term,
)
from iotistic.contracts.provisioning.fields import ProvisioningInvalid
from iotistic.kernel.errors import IotisticError, Unavailable

log = structlog.get_logger()

_DAY_S = 86_400.0
_DUE, _LATE = 1 / 3, 1 / 10
_LOOKS_IN_A_LIFE = 6
_SHORTEST_REST_S = 60.0
_CA = "caCert"
_PASSING_STATUS = frozenset({401, 408, 421, 423, 425})
"""401 is about the API key, which has a keeper of its own."""


class CertificateKeeper:
    """Made by `open`. `adopted` hears of the device with its new certificate."""

    def __init__(
        self,
        store: Store,
        service: CertificateService,
        identity: Identity,
        renewal: Renewal,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        adopted: Callable[[Identity], None],
        makes_keys: bool,
    ) -> None:
        self._store, self._service, self._identity = store, service, identity
        self._kept, self._renewal = RenewalStore(store.metadata), renewal
        self._clock, self._chance, self._adopted = clock, chance, adopted
        self._makes_keys = makes_keys
        self._term = renewal.term
        self._pace = Pace(f"{identity.uuid} certificate", self._rest_s)

    @classmethod
    async def open(
        cls,
        store: Store,
        service: CertificateService,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        adopted: Callable[[Identity], None] = lambda _: None,
        makes_keys: bool = False,
    ) -> Self:
        """Return it as it was left; with `makes_keys`, each certificate gets a key of its own. Raises StoreUnavailable."""
        identity = await store.device.load()
        renewal = await _with_term(RenewalStore(store.metadata), identity)
        return cls(
            store,
            service,
            identity,
            renewal,
            clock=clock,
            chance=chance,
            adopted=adopted,
            makes_keys=makes_keys,
        )

    @property
    def until(self) -> float | None:
        """When the certificate ends (seconds since 1970); None without one that can be read."""
        return None if self._term is None else self._term.ends_at

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            try:
                next_at = await self._look()
            except IotisticError as exc:
                next_at = await self._failed(exc)
            await asyncio.sleep(max(0.0, next_at - self._clock()))

    async def _look(self) -> float:
        """Renew if it is time; return when to look again."""
        now = self._clock()
        if self._is_due(now):
            await self._renew()
        return self._pace.succeeded(now)

    def _is_due(self, now: float) -> bool:
        if not certificate_of(self._identity) or not self._identity.private_key:
            return False  # a cloud that gave none knows of none
        waits = any(
            at is not None and 0 <= now - at < self._rest_s()
            for at in (self._renewal.taken_at, self._renewal.refused_at)
        )
        return not waits and (self._term is None or _left(self._term, now) < _DUE)

    async def _renew(self) -> None:
        if not self._store.database.is_kept:
            raise DiskNotKept
        from iotistic.contracts.provisioning.fitting import check_fits  # noqa: PLC0415
        from iotistic.contracts.provisioning.keys import make_csr  # noqa: PLC0415

        key = await self._next_key()
        csr = make_csr(key, self._identity.uuid)
        # Kept even if nothing new is in it: a disk that fails, fails before anything is asked for.
        await self._keep(self._renewal)
        given = await self._service.next_certificate(csr)
        now = self._clock()
        if given.certificate == certificate_of(self._identity):
            raise CertificateUnfit("the cloud gave the certificate that the device has already")
        term = check_fits(given.certificate, key, self._identity.uuid, now)
        changes = self._changes(given, key, now)
        self._identity = await self._store.device.change(**changes)
        self._term, self._renewal = term, _taken(given, term, now)
        log.info("certificate.renewed", ends_at=term.ends_at)
        self._adopted(self._identity)
        await self._keep(self._renewal)
        if _left(term, now) < _DUE:
            log.warning("certificate.clock_doubted", ends_at=term.ends_at, now=now)

    async def _next_key(self) -> str:
        """Return the private key of the next certificate; a new one is on the disk first."""
        if not self._makes_keys:
            return self._identity.private_key
        from iotistic.contracts.provisioning.keys import make_key  # noqa: PLC0415

        if not self._renewal.next_key:
            await self._keep(replace(self._renewal, next_key=make_key()))
        return self._renewal.next_key

    def _changes(self, given: NextCertificate, key: str, now: float) -> dict[str, Any]:
        """Return what changes about the device, all in one write.

        Where the broker is checked against certificates of its own, those that came are believed too: the ones
        before may still be in use.
        """
        from iotistic.contracts.provisioning.fitting import join_authorities  # noqa: PLC0415

        changes = with_certificate(self._identity, given.certificate)
        config = changes["mqtt_broker_config"]
        if given.ca_cert and (known := config.get(_CA)):
            try:
                config[_CA] = join_authorities(given.ca_cert, str(known), now)
            except CertificateUnfit as exc:
                log.warning("certificate.authorities_not_taken", reason=exc.message)
        return {**changes, "private_key": key}

    async def _failed(self, exc: IotisticError) -> float:
        """Say that it did not work; return when to try again."""
        now = self._clock()
        left = 0.0 if self._term is None else _left(self._term, now)
        # An error is said out loud: somebody has to look before the device is locked out of its broker.
        say = log.error if left < _LATE else log.warning
        say("certificate.not_renewed", code=exc.code, reason=exc.message, ends_at=self.until)
        if _is_refusal(exc):
            self._renewal = replace(self._renewal, refused_at=now)
            with contextlib.suppress(StoreUnavailable):  # it counts as long as we live
                await self._keep(self._renewal)
            return now + self._rest_s()
        retry_after_s = exc.retry_after_s if isinstance(exc, Unavailable) else 0.0
        return self._pace.failed(now, self._chance(), retry_after_s=retry_after_s)

    async def _keep(self, renewal: Renewal) -> None:
        await self._kept.save(renewal)
        self._renewal = renewal

    def _rest_s(self) -> float:
        life_s = _DAY_S * _LOOKS_IN_A_LIFE if self._term is None else self._term.life_s
        return max(_SHORTEST_REST_S, min(_DAY_S, life_s / _LOOKS_IN_A_LIFE))


async def _with_term(kept: RenewalStore, identity: Identity) -> Renewal:
    """Return how far the renewal came, with the certificate's term, which is looked for once."""
    certificate = certificate_of(identity)
    renewal = await kept.load(certificate)
    if renewal.term is not None or not certificate:
        return renewal
    from iotistic.contracts.provisioning.fitting import read_term  # noqa: PLC0415

    try:
        term = read_term(certificate)
    except CertificateUnfit as exc:
        log.warning("certificate.unreadable", reason=exc.message)
        return renewal
    renewal = replace(renewal, begins_at=term.begins_at, ends_at=term.ends_at)
    with contextlib.suppress(StoreUnavailable):  # then it is looked for again
        await kept.save(renewal)
    return renewal


def _taken(given: NextCertificate, term: Term, now: float) -> Renewal:
    return Renewal(
        fingerprint(given.certificate), taken_at=now, begins_at=term.begins_at, ends_at=term.ends_at
    )


def _left(term: Term, now: float) -> float:
    """Return how much of a certificate's life is left: 1 at its beginning, 0 at its end."""
    return (term.ends_at - now) / term.life_s if term.life_s > 0 else 0.0


def _is_refusal(exc: IotisticError) -> bool:
    is_said = isinstance(exc, CloudDenied | CloudRefused) and exc.fields.get("status") not in _PASSING_STATUS
    return is_said or isinstance(exc, ProvisioningInvalid)
