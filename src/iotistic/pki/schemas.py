"""Shapes of the authority's HTTP face."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from iotistic.contracts.mac import format_mac
from iotistic.kernel.errors import Invalid
from iotistic.pki.csr import LARGEST_CSR, KeyType
from iotistic.pki.model import Certificate, CertificateKind, EnrolmentToken, Reason


class CursorInvalid(Invalid):
    """The cursor is not one that a page of this list gave."""

    code = "page.cursor_invalid"


def _storable(text: str) -> str:
    """PostgreSQL text holds no NUL."""
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


Text = Annotated[str, AfterValidator(_storable)]
MacText = Annotated[str, StringConstraints(max_length=64)]
Csr = Annotated[str, StringConstraints(max_length=LARGEST_CSR)]
Serial = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,40}$")]

_MAC_EXAMPLES = ["aa:bb:cc:dd:ee:01", "aa-bb-cc-dd-ee-01", "aabbccddee01"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CertificateRequest(_Request):
    """Ask for a key and a certificate."""

    mac: MacText = Field(examples=_MAC_EXAMPLES)
    replace: bool = Field(default=False, description="Revoke the device's valid certificate and issue anew.")
    key_type: KeyType = Field(default=KeyType.RSA_2048, description="The key that is made for the device.")


class CertificateResponse(BaseModel):
    """A certificate with the private key made for it, which nobody can ask for again."""

    mac: str = Field(examples=["aa:bb:cc:dd:ee:01"])
    client_cert: str
    private_key: str
    ca_cert: str
    expires_at: datetime


class SigningRequest(_Request):
    """Ask for a certificate of a key that the device keeps."""

    mac: MacText = Field(examples=_MAC_EXAMPLES)
    csr: Csr = Field(description="PEM. Only its key is used; the certificate's names are made from the MAC.")
    replace: bool = Field(default=False, description="Revoke the device's valid certificate and issue anew.")


class RenewalRequest(_Request):
    """Ask for a new certificate with the old one as credential."""

    csr: Csr = Field(description="PEM. Only its key is used.")


class SignedResponse(BaseModel):
    """A certificate for a key that its owner kept."""

    mac: str
    client_cert: str
    ca_cert: str
    serial: str
    expires_at: datetime


class RevocationRequest(_Request):
    """Name the certificate, or the device whose valid certificates are all meant."""

    mac: MacText | None = Field(default=None, examples=_MAC_EXAMPLES)
    serial: Serial | None = Field(default=None, examples=["9f86d081884c7d659a2feaa0c55ad015"])
    reason: Reason = Reason.UNSPECIFIED

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.mac is None and self.serial is None:
            raise ValueError("give mac or serial")
        return self


class CertificateRow(BaseModel):
    """A certificate as the list shows it."""

    serial: str
    kind: CertificateKind
    mac: str | None
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    issued_by: str
    revoked_at: datetime | None
    revoked_reason: Reason | None

    @classmethod
    def of(cls, certificate: Certificate) -> "CertificateRow":
        """Show a certificate."""
        return cls(
            serial=certificate.serial,
            kind=certificate.kind,
            mac=format_mac(certificate.mac) if certificate.mac else None,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            issued_at=certificate.issued_at,
            issued_by=certificate.issued_by,
            revoked_at=certificate.revoked_at,
            revoked_reason=certificate.revoked_reason,
        )


class RevocationResponse(BaseModel):
    """What was revoked; `broker_enforced` is false while the broker has still to be told."""

    revoked: list[CertificateRow]
    broker_enforced: bool


class CertificatePage(BaseModel):
    """Certificates by expiry; `next` is the cursor of the page that follows, null on the last."""

    items: list[CertificateRow]
    next: str | None


class TokenRequest(_Request):
    """Ask for an enrolment token."""

    label: Annotated[Text, StringConstraints(max_length=200)] = Field(default="", examples=["line 3"])
    expires_in_hours: float = Field(default=24, gt=0, le=24 * 366, description="Hours until it ends.")
    max_uses: int | None = Field(default=None, ge=1, le=1_000_000, description="Certificates it may issue.")


class TokenRow(BaseModel):
    """An enrolment token, without its secret."""

    id: str
    label: str
    created_at: datetime
    expires_at: datetime
    max_uses: int | None
    uses: int
    revoked_at: datetime | None

    @classmethod
    def of(cls, token: EnrolmentToken) -> "TokenRow":
        """Show a token."""
        return cls.model_validate(token, from_attributes=True)


class NewTokenResponse(TokenRow):
    """An enrolment token with its secret, which is shown this once."""

    token: str


class Health(BaseModel):
    """The service answers."""

    status: str = Field(default="ok", examples=["ok"])


def encode_cursor(certificate: Certificate) -> str:
    """Return the key of the last certificate on a page, opaque to callers."""
    key = f"{certificate.not_after.isoformat()}|{certificate.serial}"
    return base64.urlsafe_b64encode(key.encode()).decode()


def decode_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the key that `cursor` holds. Raises CursorInvalid."""
    if cursor is None:
        return None
    try:
        moment, _, serial = (
            base64.b64decode(cursor, altchars=b"-_", validate=True).decode("ascii").partition("|")
        )
        parsed = datetime.fromisoformat(moment)
    except (ValueError, binascii.Error) as exc:
        raise CursorInvalid(hint="take `next` of the page before") from exc
    if parsed.tzinfo is None or not serial.isalnum():
        raise CursorInvalid(hint="take `next` of the page before")
    return parsed, serial
