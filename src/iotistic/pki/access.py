"""What the authority's routes need of their callers."""

from dataclasses import dataclass

from starlette.requests import Request

from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.auth import AccessRule, BearerAuth, TokenSource, bearer_auth
from iotistic.kernel.web.client_cert import client_certificate
from iotistic.pki.model import Certificate
from iotistic.pki.policy import ENROL, OPERATE
from iotistic.pki.service import CertificateService


class DeviceCertificateAuth(AccessRule):
    """A TLS client certificate of a device that is neither expired nor revoked; gives its `Certificate`."""

    states = "a device's valid client certificate"

    def __init__(self, service: CertificateService) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Certificate:
        """Raise CertificateRefused (403)."""
        return await self._service.presented(client_certificate(request))


@dataclass(frozen=True)
class Access:
    """The three ways in."""

    operator: BearerAuth
    enrolment: BearerAuth
    device: DeviceCertificateAuth

    @classmethod
    def of(cls, tokens: TokenSource, service: CertificateService) -> "Access":
        """Build the rules; wrong tokens are counted per address over all routes together."""
        attempts = FailedAttempts()
        return cls(
            operator=bearer_auth(tokens, scope=OPERATE, attempts=attempts),
            enrolment=bearer_auth(tokens, scope=ENROL, attempts=attempts),
            device=DeviceCertificateAuth(service),
        )
