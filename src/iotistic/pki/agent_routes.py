"""Certificates of agents over HTTP, for a control plane that does not have the authority's key itself.

POST /agents/{uuid}/certificate   {"public_key": PEM}  ->  {serial, certificate, ca_cert, not_after}
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from iotistic.kernel.web.auth import Principal
from iotistic.pki.access import Access
from iotistic.pki.agents import read_agent_key
from iotistic.pki.service import CertificateService


class AgentKey(BaseModel):
    """The key that an agent has proven to have."""

    model_config = ConfigDict(extra="forbid")

    public_key: str = Field(max_length=4096)


class AgentCertificateAnswer(BaseModel):
    """An agent's certificate, and what to check others' against."""

    serial: str
    certificate: str
    ca_cert: str
    not_after: datetime


def agent_router(service: CertificateService, access: Access) -> APIRouter:
    """Return the route; it needs the operator's token."""
    router = APIRouter(tags=["agents"])

    @router.post("/agents/{uuid}/certificate")
    async def certify_agent(
        uuid: UUID, asked: AgentKey, _: Annotated[Principal, Depends(access.operator)]
    ) -> AgentCertificateAnswer:
        """Certify an agent's key for its uuid."""
        made = service.certify_agent(str(uuid), read_agent_key(asked.public_key))
        return AgentCertificateAnswer(
            serial=made.serial, certificate=made.pem, ca_cert=service.ca_pem, not_after=made.not_after
        )

    _ = certify_agent
    return router
