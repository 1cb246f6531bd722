"""What the authority knows: certificates, tokens, and the ways a request can be refused."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cryptography import x509

from iotistic.contracts.mac import Mac
from iotistic.kernel.errors import Conflict, Denied, Invalid, NotFound


class CertificateKind(StrEnum):
    """What a certificate is for."""

    CA = "ca"
    BROKER = "broker"
    SERVER = "server"
    DEVICE = "device"


class Reason(StrEnum):
    """Why a certificate was revoked (the names of RFC 5280, in our spelling)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"

    @property
    def flag(self) -> x509.ReasonFlags:
        """The X.509 name."""
        return x509.ReasonFlags[self.value]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One issued certificate; `serial` is hexadecimal, times are aware UTC."""

    serial: str
    kind: CertificateKind
    mac: Mac | None
    pem: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    issued_by: str
    revoked_at: datetime | None = None
    revoked_reason: Reason | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and now < self.not_after


@dataclass(frozen=True, kw_only=True)
class EnrolmentToken:
    """A token that lets devices enrol; the secret itself is not kept."""

    id: str
    label: str
    created_at: datetime
    expires_at: datetime
    max_uses: int | None
    uses: int
    revoked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A fresh certificate with the private key made for it, which is given away and not kept."""

    certificate: Certificate
    private_key: str = field(repr=False)


class BrokerGate(Protocol):
    """What a revocation needs of the broker."""

    async def apply_crl(self, pem: bytes) -> bool:
        """Make the broker refuse what `pem` lists from the next connection on; False when none runs."""
        ...

    async def disconnect(self, client_ids: Iterable[str]) -> int:
        """Close the connections of these clients; return how many were asked for."""
        ...


class CsrInvalid(Invalid):
    """The certificate signing request cannot be accepted."""

    code = "pki.csr_invalid"


class KeyTooWeak(CsrInvalid):
    """Keys must be EC P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits."""

    code = "pki.key_too_weak"


class CertificateExists(Conflict):
    """This MAC already has a valid certificate, and private keys are never handed out twice."""

    code = "pki.certificate_exists"


class ReplacementDenied(Denied):
    """Only the operator may replace a certificate that was issued under another token or a while ago."""

    code = "pki.replacement_denied"


class TokenUsedUp(Denied):
    """This enrolment token has been used as often as it may, has expired, or was revoked."""

    code = "pki.token_used_up"


class CertificateRefused(Denied):
    """The client certificate is not one that may be renewed."""

    code = "pki.certificate_refused"


class CertificateUnknown(NotFound):
    """No valid certificate fits."""

    code = "pki.certificate_unknown"


class TokenUnknown(NotFound):
    """There is no such enrolment token."""

    code = "pki.token_unknown"


class AuthorityUnusable(Invalid):
    """The certificate authority's key or certificate cannot be used."""

    code = "pki.authority_unusable"
