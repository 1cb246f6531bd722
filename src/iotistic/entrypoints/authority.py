"""A client of the running certificate authority.

HTTPS with the CA pinned; the operator's token or a device's certificate is the credential.
"""

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, SecretStr

from iotistic.contracts.mac import Mac
from iotistic.entrypoints.installation import (
    RequestImpossible,
    raise_for_problem,
    running_endpoints,
    usable_token,
)
from iotistic.kernel.errors import Denied, Invalid, Unavailable
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.settings import load_settings
from iotistic.pki.model import Reason

_TIMEOUT_S = 30.0


class AuthoritySettings(HomeSettings):
    """Which certificate authority the commands talk to."""

    iotistic_pki_url: str | None = None
    """Base URL of an authority elsewhere, such as https://iot.example.com:8080; unset means the local one."""
    iotistic_ca_file: Path | None = None
    """CA certificate (PEM) that `IOTISTIC_PKI_URL` is checked against; the local one when not set."""
    iotistic_api_token: SecretStr | None = None
    """Operator or enrolment token for `IOTISTIC_PKI_URL`; the local one is read from the home."""


class TrustMissing(Invalid):
    """The CA certificate or the device's certificate cannot be read."""

    code = "cert.trust_missing"


class Signed(BaseModel):
    """A certificate for a key that stayed here."""

    mac: str
    client_cert: str
    ca_cert: str
    serial: str
    expires_at: datetime


class Revocation(TypedDict):
    """What was revoked, and whether the broker knows."""

    revoked: list[dict[str, object]]
    broker_enforced: bool


def connect(*, identity: tuple[Path, Path] | None = None) -> "Authority":
    """Return a client for the authority that the settings name; `identity` is (certificate, key) files."""
    settings = load_settings(AuthoritySettings)
    if settings.iotistic_pki_url:
        url, ca = settings.iotistic_pki_url, settings.iotistic_ca_file or settings.home.ca_certificate
        # A device's certificate is credential enough.
        token = None if identity else usable_token(settings.iotistic_api_token)
    else:
        endpoints = running_endpoints(settings.home)
        url, ca = endpoints.pki, Path(endpoints.ca)
        # A device's certificate is credential enough, and its owner may not read the operator's token.
        token = None if identity else _operator_token(settings.home.api_token)
    return Authority(url, _tls(ca, identity), token)


def _operator_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise Denied(f"the token in {path} cannot be read: {exc.strerror}") from exc


def _tls(ca: Path, identity: tuple[Path, Path] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if identity:
            context.load_cert_chain(*identity)
    except OSError as exc:  # ssl.SSLError is one
        named = ", ".join(str(path) for path in (ca, *(identity or ())))
        raise TrustMissing(f"one of {named} cannot be used: {exc.strerror or exc}") from exc
    return context


class Authority:
    """The authority's routes as methods; problems become kernel errors."""

    def __init__(self, url: str, context: ssl.SSLContext, token: str | None) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = httpx2.Client(base_url=url, verify=context, headers=headers, timeout=_TIMEOUT_S)
        except httpx2.InvalidURL as exc:
            raise RequestImpossible(
                f"{url} is no address: {exc}", hint="write it like https://iot.example.com:8080"
            ) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def certify(self, mac: Mac, csr: str, *, replace: bool) -> Signed:
        """Get a certificate for the key of a signing request."""
        asked = {"mac": mac, "csr": csr, "replace": replace}
        return Signed.model_validate(self._ask("POST", "/csr", asked))

    def renew(self, csr: str) -> Signed:
        """Get the next certificate of the device whose certificate this client shows."""
        return Signed.model_validate(self._ask("POST", "/renew", {"csr": csr}))

    def certificates(self, **chosen: object) -> Iterator[dict[str, object]]:
        """Yield all certificates that fit, page by page."""
        after: object = None
        while True:
            page = self._ask("GET", "/certificates", limit=1000, after=after, **chosen)
            yield from page["items"]
            if (after := page["next"]) is None:
                return

    def revoke(self, *, mac: str | None, serial: str | None, reason: Reason) -> Revocation:
        """Revoke a device's certificates, or one."""
        return self._ask("POST", "/revoke", {"mac": mac, "serial": serial, "reason": reason})

    def create_token(self, *, label: str, hours: float, max_uses: int | None) -> dict[str, object]:
        """Make an enrolment token."""
        asked = {"label": label, "expires_in_hours": hours, "max_uses": max_uses}
        return self._ask("POST", "/tokens", asked)

    def tokens(self) -> list[dict[str, object]]:
        """Return all enrolment tokens."""
        return self._ask("GET", "/tokens")

    def revoke_token(self, token_id: str) -> dict[str, object]:
        """End an enrolment token."""
        return self._ask("DELETE", f"/tokens/{quote(token_id, safe='')}")

    def _ask(self, method: str, path: str, body: object = None, **params: object) -> Any:
        given = {name: str(value) for name, value in params.items() if value is not None}
        try:
            response = self._client.request(method, path, params=given, json=body)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as exc:
            raise RequestImpossible(f"this cannot be asked of {self._url}: {exc}") from exc
        except httpx2.TransportError as exc:
            raise Unavailable(
                f"the certificate authority at {self._url} does not answer: {exc}",
                hint="see `iotistic status`; a certificate that it does not accept ends the connection too",
            ) from exc
        raise_for_problem(response)
        return response.json()
