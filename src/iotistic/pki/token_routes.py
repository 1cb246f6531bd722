"""Enrolment tokens over HTTP; the operator's alone."""

from datetime import timedelta
from typing import Annotated

import asyncpg
from fastapi import APIRouter, Depends, Path

from iotistic.kernel.postgres.pool import database_errors
from iotistic.pki import tokens
from iotistic.pki.access import Access
from iotistic.pki.schemas import NewTokenResponse, TokenRequest, TokenRow
from iotistic.pki.service import utc_now

_TokenId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]


def token_router(pool: asyncpg.Pool, access: Access) -> APIRouter:
    """Return how enrolment tokens are made, listed and revoked."""
    router = APIRouter(prefix="/tokens", tags=["tokens"], dependencies=[Depends(access.operator)])

    @router.post("", status_code=201)
    async def create(asked: TokenRequest) -> NewTokenResponse:
        """Make a token; its secret is in this answer and nowhere else."""
        expires_at = utc_now() + timedelta(hours=asked.expires_in_hours)
        with database_errors():
            made = await tokens.create(
                pool, label=asked.label, expires_at=expires_at, max_uses=asked.max_uses
            )
        shown = TokenRow.of(made.token).model_dump()
        return NewTokenResponse(**shown, token=made.secret.get_secret_value())

    @router.get("")
    async def list_tokens() -> list[TokenRow]:
        """Every token, newest first, without secrets."""
        with database_errors():
            return [TokenRow.of(token) for token in await tokens.list_all(pool)]

    @router.delete("/{token_id}")
    async def revoke(token_id: _TokenId) -> TokenRow:
        """End a token now; certificates issued under it stay valid."""
        with database_errors():
            return TokenRow.of(await tokens.revoke(pool, token_id))

    _ = create, list_tokens, revoke
    return router
