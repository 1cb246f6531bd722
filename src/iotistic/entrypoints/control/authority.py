"""Who signs certificates of agents: the authority itself where its key is at hand, or its process over HTTPS."""

import ssl
from datetime import datetime
from pathlib import Path

import httpx2
import structlog
from pydantic import BaseModel, SecretStr, ValidationError

from iotistic.contracts.provisioning.keys import PublicKey, write_public
from iotistic.control.provisioning.certificates import AuthorityCertifier, Certifier, Signed
from iotistic.kernel.errors import Invalid, Unavailable
from iotistic.kernel.home import Home
from iotistic.kernel.settings import Settings
from iotistic.pki.keystore import open_authority
from iotistic.pki.settings import AuthoritySettings

log = structlog.get_logger()

_ANSWER_WITHIN_S = 5.0
_RETRY_S = 10.0


class AuthorityMissing(Unavailable):
    """This server cannot have certificates signed: it knows no authority."""

    code = "provisioning.authority_missing"


class AuthorityAway(Unavailable):
    """The certificate authority does not answer."""

    code = "provisioning.authority_away"


class AuthorityFileMissing(Invalid):
    """PKI_CA_FILE, which the authority is checked against, cannot be read."""

    code = "provisioning.authority_file_missing"


class SignerSettings(AuthoritySettings, Settings):
    """Where certificates of agents are signed."""

    pki_url: str = ""
    """Base URL of the authority, such as https://pki:8080; empty: signed here, with the key in this home."""
    pki_ca_file: Path | None = None
    """CA certificate (PEM) that the authority and the broker are checked against; needed with PKI_URL."""


class _Answer(BaseModel):
    serial: str
    certificate: str
    not_after: datetime


class PkiCertifier:
    """The authority's own process, asked with the operator's token."""

    def __init__(self, url: str, ca_pem: str, token: SecretStr) -> None:
        self.ca_pem = ca_pem
        self._url, self._context = url, ssl.create_default_context(cadata=ca_pem)
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._headers = {"Authorization": f"Bearer {token.get_secret_value()}"}

    async def sign(self, uuid: str, key: PublicKey, now: datetime) -> Signed:
        """Return a certificate. Raises AuthorityAway: the device tries again, and nothing was taken in."""
        _ = now  # the authority's own clock counts
        try:
            # A connection of its own: devices come in seldom, and one that was kept may be dead by then.
            async with httpx2.AsyncClient(
                base_url=self._url, verify=self._context, headers=self._headers, timeout=_ANSWER_WITHIN_S
            ) as client:
                answer = await client.post(
                    f"/agents/{uuid}/certificate", json={"public_key": write_public(key)}
                )
            answer.raise_for_status()
            found = _Answer.model_validate_json(answer.content)
        except (httpx2.HTTPError, ValidationError) as exc:
            log.warning("provisioning.authority_away", reason=str(exc))
            raise AuthorityAway(retry_after_s=_RETRY_S) from exc
        return Signed(found.serial, found.certificate, found.not_after)


class NoAuthority:
    """Signs nothing; devices that need no certificate become known all the same."""

    ca_pem = ""

    async def sign(self, uuid: str, key: PublicKey, now: datetime) -> Signed:
        """Raise AuthorityMissing."""
        _ = uuid, key, now
        raise AuthorityMissing(hint="set PKI_URL and PKI_CA_FILE", retry_after_s=60)


def certifier(home: Home, settings: SignerSettings, token: SecretStr) -> Certifier:
    """Return who signs. An authority is never made here: devices would not be let in by its certificates."""
    if settings.pki_url:
        return PkiCertifier(settings.pki_url, _trusted(settings.pki_ca_file), token)
    if settings.ca_key or (home.pki / "ca.key").exists():
        return AuthorityCertifier(open_authority(home, settings), days=settings.device_expiry)
    log.warning("provisioning.authority_missing", folder=str(home.pki))
    return NoAuthority()


def _trusted(path: Path | None) -> str:
    try:
        return (path or Path("PKI_CA_FILE")).read_text(encoding="utf-8")
    except OSError as exc:
        raise AuthorityFileMissing(f"PKI_CA_FILE ({path or 'not set'}) cannot be read") from exc
