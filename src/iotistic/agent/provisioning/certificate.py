"""The certificate that a device has, how far its renewal came, on the disk; and the cloud that gives the next one."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, cast

from iotistic.agent.link.errors import CloudUnintelligible
from iotistic.agent.link.job_calls import Ask
from iotistic.agent.store.device import Identity
from iotistic.agent.store.endpoints import MetadataStore
from iotistic.contracts.provisioning.certificates import (
    NextCertificate,
    Term,
    certificate_path,
    read_next_certificate,
)
from iotistic.contracts.provisioning.fields import ProvisioningInvalid

RENEWAL = "certificate_renewal"
_CLIENT_CERT = "clientCert"


class CertificateService(Protocol):
    """Gives certificates."""

    async def next_certificate(self, csr: str) -> NextCertificate:
        """Return the certificate that a signing request (PEM) asks for. Raises the link's errors."""
        ...


class CloudCertificates:
    """CertificateService over HTTP; `ask` speaks as the device, with its API key."""

    def __init__(self, uuid: str, ask: Ask) -> None:
        self._uuid, self._ask = uuid, ask

    async def next_certificate(self, csr: str) -> NextCertificate:
        """Return a certificate."""
        answer = await self._ask("POST", certificate_path(self._uuid), body={"csr": csr})
        try:
            return read_next_certificate(answer.document())
        except ProvisioningInvalid as exc:
            raise CloudUnintelligible(exc.message) from exc


@dataclass(frozen=True, slots=True)
class Renewal:
    """How far the renewal of one certificate came. Times in seconds since 1970."""

    of: str = ""
    """Fingerprint of the certificate that is renewed: what is kept of another one does not count."""
    next_key: str = field(default="", repr=False)
    """A private key that was made for the next certificate, and is not in use before that is there."""
    refused_at: float | None = None
    taken_at: float | None = None
    """When this certificate took the place of another."""
    begins_at: float | None = None
    ends_at: float | None = None
    """The certificate's term, None until somebody has looked into it."""

    @property
    def term(self) -> Term | None:
        """The certificate's term, as far as it is known."""
        if self.begins_at is None or self.ends_at is None:
            return None
        return Term(self.begins_at, self.ends_at)


class RenewalStore:
    """Where it is kept."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def load(self, certificate: str) -> Renewal:
        """Return how far the renewal of a certificate came; nothing when that cannot be read."""
        fresh = Renewal(fingerprint(certificate))
        kept = (await self._metadata.load()).get(RENEWAL)
        try:
            fields = cast("dict[str, Any]", dict(kept or {}))
            found = Renewal(
                str(fields.get("of", "")),
                str(fields.get("next_key", "")),
                _time(fields.get("refused_at")),
                _time(fields.get("taken_at")),
                _time(fields.get("begins_at")),
                _time(fields.get("ends_at")),
            )
        except (TypeError, ValueError):
            return fresh
        return found if found.of == fresh.of else fresh

    async def save(self, renewal: Renewal) -> None:
        """Keep it. Raises StoreUnavailable."""
        await self._metadata.put(RENEWAL, asdict(renewal))


def fingerprint(certificate: str) -> str:
    """Return what tells a certificate from others."""
    return hashlib.sha256(certificate.encode()).hexdigest()


def certificate_of(identity: Identity) -> str:
    """Return the certificate that the device shows to its broker; empty when it has none."""
    given = identity.mqtt_broker_config.get(_CLIENT_CERT)
    return given if isinstance(given, str) and given else identity.certificate


def with_certificate(identity: Identity, certificate: str) -> dict[str, Any]:
    """Return what changes about a device whose certificate is another one now."""
    config = {name: value for name, value in identity.mqtt_broker_config.items() if name != _CLIENT_CERT}
    return {"certificate": certificate, "mqtt_broker_config": config}


def _time(value: object) -> float | None:
    return None if value is None else float(cast("float", value))
