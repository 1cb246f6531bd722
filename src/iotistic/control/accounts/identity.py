"""Whose bearer token a request carries: a person's access token, or an API key."""

from collections.abc import Callable
from datetime import datetime

import asyncpg

from iotistic.control.access.model import Caller
from iotistic.control.accounts import session_repository
from iotistic.control.accounts.api_keys import ApiKeyService
from iotistic.control.accounts.model import SessionOver
from iotistic.control.accounts.tokens import API_KEY, AccessTokens
from iotistic.kernel.postgres.pool import database_errors


class Identities:
    """Looks up callers for control/access."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        access_tokens: AccessTokens,
        api_keys: ApiKeyService,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._access_tokens = access_tokens
        self._api_keys = api_keys
        self._clock = clock

    async def find(self, token: str) -> Caller | None:
        """Return who holds `token`, as the account is at this moment; None when it is not valid.

        Raises SessionOver for one that was valid once: that is no guess, and is not counted as one.
        """
        if API_KEY.id_of(token):
            return await self._api_keys.find(token)
        now = self._clock()
        claims = self._access_tokens.read(token, now)
        if claims is None:
            return None
        if claims.is_over:
            raise SessionOver("the access token is over", hint="POST /auth/refresh")
        with database_errors():
            found = await session_repository.principal(self._pool, claims.session_id, claims.user_id, now)
        if found is None:
            raise SessionOver(hint="log in again")
        return found
