"""How simulated devices get their certificates: each makes its key here and sends a signing request only."""

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx2
import stamina
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, SecretStr, ValidationError

from iotistic.contracts.mac import Mac
from iotistic.kernel.errors import Denied, Unavailable
from iotistic.simulation.f2.credentials import Credential, CredentialStore

_AT_ONCE = 8
_ATTEMPTS = 8
_TIMEOUT_S = 30.0
_KEPT_TOGETHER = 200
_TRY_AGAIN = {408, 425, 429}
_SERVER_FAULT = 500

Progress = Callable[[int, int], None]
"""Called with the number of devices that are enrolled, and of those to enrol."""


class EnrolmentRefused(Denied):
    """The certificate authority refuses to certify a simulated device."""

    code = "simulator.enrolment_refused"


class AuthorityAway(Unavailable):
    """The certificate authority cannot be reached."""

    code = "simulator.authority_away"


@dataclass(frozen=True)
class Authority:
    """Where to enrol: base URL, the CA certificate to trust, and the token that allows it."""

    url: str
    ca_certificate: Path
    token: SecretStr

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA certificate's file."""
        return hashlib.sha256(self.ca_certificate.read_bytes()).hexdigest()


class _Signed(BaseModel):
    client_cert: str
    expires_at: datetime


class _Problem(BaseModel):
    code: str = "unknown"
    detail: str = ""
    hint: str | None = None


@dataclass
class Enrolment:
    """Outcome of `enrol`."""

    identities: dict[Mac, bytes]
    enrolled: int
    reused: int


async def enrol(
    macs: Sequence[Mac],
    store: CredentialStore,
    authority: Authority,
    *,
    replace: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Enrolment:
    """Return an identity for each device; those with a valid certificate in `store` are not asked for again.

    `replace` revokes certificates that the authority gave to the same devices for keys that are lost here.
    Raises EnrolmentRefused, AuthorityAway.
    """
    known = store.load(macs, now=datetime.now(UTC))
    fresh = {mac: _new_key() for mac in macs if mac not in known}
    store.keep_keys(fresh)
    known |= {mac: Credential(key) for mac, key in fresh.items()}
    missing = [mac for mac in macs if known[mac].certificate is None]
    async with _Desk(authority, replace=replace) as desk:
        for start in range(0, len(missing), _KEPT_TOGETHER):
            part = missing[start : start + _KEPT_TOGETHER]
            signed = await desk.certify_all([(mac, known[mac].private_key) for mac in part])
            store.keep_certificates(
                (mac, one.client_cert.encode(), one.expires_at) for mac, one in zip(part, signed, strict=True)
            )
            for mac, one in zip(part, signed, strict=True):
                known[mac] = Credential(known[mac].private_key, one.client_cert.encode())
            progress(start + len(part), len(missing))
    return Enrolment(
        identities={mac: known[mac].identity for mac in macs},
        enrolled=len(missing),
        reused=len(macs) - len(missing),
    )


class _Desk:
    """A few connections to the authority."""

    def __init__(self, authority: Authority, *, replace: bool) -> None:
        self._replace = replace
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._http = httpx2.AsyncClient(
            base_url=authority.url,
            verify=ssl.create_default_context(cafile=str(authority.ca_certificate)),
            headers={"Authorization": f"Bearer {authority.token.get_secret_value()}"},
            timeout=_TIMEOUT_S,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    async def certify_all(self, devices: Sequence[tuple[Mac, bytes]]) -> list[_Signed]:
        """Return the certificates, in order."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._certify(mac, key)) for mac, key in devices]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _certify(self, mac: Mac, private_key: bytes) -> _Signed:
        asked = {"mac": mac, "csr": _signing_request(mac, private_key), "replace": self._replace}
        async with self._turns:
            async for attempt in stamina.retry_context(on=AuthorityAway, attempts=_ATTEMPTS, timeout=60):
                with attempt:
                    return await self._ask(asked)
        raise AuthorityAway  # never: the last attempt's error is raised by stamina

    async def _ask(self, asked: Mapping[str, object]) -> _Signed:
        try:
            answer = await self._http.post("/csr", json=asked)
        except httpx2.HTTPError as exc:
            raise AuthorityAway(f"the certificate authority cannot be reached: {exc!r}") from exc
        if answer.status_code >= _SERVER_FAULT or answer.status_code in _TRY_AGAIN:
            raise AuthorityAway(f"the certificate authority answers {answer.status_code}")
        try:
            if answer.is_success:
                return _Signed.model_validate_json(answer.content)
            problem = _Problem.model_validate_json(answer.content)
        except ValidationError as exc:
            raise EnrolmentRefused(f"the authority's answer ({answer.status_code}) makes no sense") from exc
        raise EnrolmentRefused(
            f"the certificate authority refuses {asked['mac']}: {problem.detail or problem.code}",
            hint=problem.hint,
            reason=problem.code,
            mac=asked["mac"],
        )


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _signing_request(mac: Mac, private_key: bytes) -> str:
    key = serialization.load_pem_private_key(private_key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - made by _new_key
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, mac)])
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()
