"""The authority's app, and the TLS context that it is served under."""

import ssl

import asyncpg
from fastapi import FastAPI
from pydantic import SecretStr

from iotistic import __version__
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.app import create_app
from iotistic.pki.access import Access
from iotistic.pki.agent_routes import agent_router
from iotistic.pki.identities import ServerIdentity
from iotistic.pki.revocation import RevocationList
from iotistic.pki.routes import enrolment_router, operator_router, public_router
from iotistic.pki.service import CertificateService
from iotistic.pki.token_routes import token_router
from iotistic.pki.tokens import PkiTokens

_BODY_LIMIT = 64 * 1024


def create_pki_app(
    pool: asyncpg.Pool, service: CertificateService, revocations: RevocationList, *, operator: SecretStr
) -> FastAPI:
    """Return the app; `operator` is the token that may do everything."""

    async def database() -> None:
        with database_errors():
            await pool.fetchval("SELECT 1")

    access = Access.of(PkiTokens(operator, pool), service)
    app = create_app(
        title="Iotistic certificate authority",
        version=__version__,
        description="Gives devices an identity: enrolment, renewal, revocation.",
        checks={"database": database},
        metrics_access=access.operator,
        body_limit=_BODY_LIMIT,
    )
    app.include_router(public_router(service, revocations))
    app.include_router(enrolment_router(service, access))
    app.include_router(operator_router(service, access))
    app.include_router(token_router(pool, access))
    app.include_router(agent_router(service, access))
    return app


def tls_context(identity: ServerIdentity) -> ssl.SSLContext:
    """Return a context that asks clients for a certificate of this authority, and does without one.

    Revocation is not looked at here but in the database, which knows of it at once.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(identity.ca_certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    # An authority given by CA_CERT may be an intermediate one: it is the anchor here, not its root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(identity.certificate, identity.key)
    return context
