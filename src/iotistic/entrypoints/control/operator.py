"""The operator's token as a caller: whoever can read the installation's files may do everything there.

Everybody else is looked up in the database: people in sessions, and API keys.
"""

from uuid import UUID

from pydantic import SecretStr

from iotistic.control.access.model import ApiKeyPrincipal, Caller, Permission
from iotistic.control.access.rules import CallerSource
from iotistic.kernel.web.auth import StaticTokens

OPERATOR = ApiKeyPrincipal(key_id="operator", user_id=UUID(int=0), permissions=frozenset(Permission))


class OperatorOr:
    """Knows the operator's token, and asks `others` about every other one."""

    def __init__(self, token: SecretStr, others: CallerSource | None = None) -> None:
        self._operator, self._others = StaticTokens({"operator": token}), others

    async def find(self, token: str) -> Caller | None:
        """Return whose bearer token this is, or None when it is not valid."""
        if await self._operator.find(token) is not None:
            return OPERATOR
        return await self._others.find(token) if self._others else None
