"""The authority over HTTP: enrolment, renewal, revocation, and what everybody may read."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import PlainTextResponse

from iotistic.contracts.mac import format_mac, parse_mac
from iotistic.kernel.web.auth import Principal, Public
from iotistic.pki.access import Access
from iotistic.pki.model import Certificate, CertificateKind
from iotistic.pki.repository import CertificateFilter
from iotistic.pki.revocation import RevocationList
from iotistic.pki.schemas import (
    CertificatePage,
    CertificateRequest,
    CertificateResponse,
    CertificateRow,
    Health,
    MacText,
    RenewalRequest,
    RevocationRequest,
    RevocationResponse,
    SignedResponse,
    SigningRequest,
    decode_cursor,
    encode_cursor,
)
from iotistic.pki.service import CertificateService, utc_now

_PEM = "application/x-pem-file"


def public_router(service: CertificateService, revocations: RevocationList) -> APIRouter:
    """Return what needs no credential: certificates and revocation lists are public by nature."""
    router = APIRouter(tags=["authority"], dependencies=[Depends(Public("trust anchors are public"))])

    @router.get("/health")
    async def health() -> Health:
        """Whether the service answers."""
        return Health()

    @router.get("/ca.pem", response_class=PlainTextResponse)
    async def ca_certificate() -> PlainTextResponse:
        """The authority's certificate, which every client pins."""
        return PlainTextResponse(service.ca_pem, media_type=_PEM)

    @router.get("/crl.pem", response_class=PlainTextResponse)
    async def revocation_list() -> PlainTextResponse:
        """The certificate revocation list in force."""
        return PlainTextResponse(revocations.pem, media_type=_PEM)

    _ = health, ca_certificate, revocation_list
    return router


def enrolment_router(service: CertificateService, access: Access) -> APIRouter:
    """Return how a device gets its first certificate, and the next one."""
    router = APIRouter(tags=["enrolment"])

    @router.post("/issue")
    async def issue(
        asked: CertificateRequest, caller: Annotated[Principal, Depends(access.enrolment)]
    ) -> CertificateResponse:
        """Make a key and a certificate. A MAC with a valid one is refused unless `replace` is set."""
        mac = parse_mac(asked.mac)
        issued = await service.issue(mac, caller=caller, replace=asked.replace, key_type=asked.key_type)
        return CertificateResponse(
            mac=format_mac(mac),
            client_cert=issued.certificate.pem,
            private_key=issued.private_key,
            ca_cert=service.ca_pem,
            expires_at=issued.certificate.not_after,
        )

    @router.post("/csr")
    async def certify(
        asked: SigningRequest, caller: Annotated[Principal, Depends(access.enrolment)]
    ) -> SignedResponse:
        """Certify a key that never leaves the device; asking again with the same key changes nothing."""
        mac = parse_mac(asked.mac)
        return _signed(service, await service.certify(mac, asked.csr, caller=caller, replace=asked.replace))

    @router.post("/renew")
    async def renew(
        asked: RenewalRequest, presented: Annotated[Certificate, Depends(access.device)]
    ) -> SignedResponse:
        """Certify a new key for the device whose valid certificate the TLS connection shows."""
        return _signed(service, await service.renew(presented, asked.csr))

    _ = issue, certify, renew
    return router


def _signed(service: CertificateService, certificate: Certificate) -> SignedResponse:
    return SignedResponse(
        mac=format_mac(certificate.mac) if certificate.mac else "",
        client_cert=certificate.pem,
        ca_cert=service.ca_pem,
        serial=certificate.serial,
        expires_at=certificate.not_after,
    )


def operator_router(service: CertificateService, access: Access) -> APIRouter:
    """Return what the operator does with certificates."""
    router = APIRouter(tags=["operator"], dependencies=[Depends(access.operator)])

    @router.post("/revoke")
    async def revoke(asked: RevocationRequest) -> RevocationResponse:
        """Revoke a certificate, or all valid ones of a device; its connections end at once."""
        mac = parse_mac(asked.mac) if asked.mac is not None else None
        done = await service.revoke(mac=mac, serial=asked.serial, reason=asked.reason)
        rows = [CertificateRow.of(one) for one in done.certificates]
        return RevocationResponse(revoked=rows, broker_enforced=done.broker_enforced)

    @router.get("/certificates")
    async def certificates(
        *,
        mac: MacText | None = None,
        kind: CertificateKind | None = None,
        revoked: bool | None = None,
        expiring_within_days: Annotated[float | None, Query(ge=0, le=36500)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        after: Annotated[str | None, Query(max_length=200)] = None,
    ) -> CertificatePage:
        """Certificates by expiry. `expiring_within_days` leaves out those that have expired already."""
        now = utc_now()
        within = timedelta(days=expiring_within_days) if expiring_within_days is not None else None
        chosen = CertificateFilter(
            mac=parse_mac(mac) if mac is not None else None,
            kind=kind,
            revoked=revoked,
            expires_after=now if within is not None else None,
            expires_before=now + within if within is not None else None,
        )
        found = await service.page(chosen, after=decode_cursor(after), limit=limit + 1)
        following = encode_cursor(found[limit - 1]) if len(found) > limit else None
        return CertificatePage(items=[CertificateRow.of(one) for one in found[:limit]], next=following)

    _ = revoke, certificates
    return router
