"""What a route needs of its caller: every route states it by depending on an `AccessRule`.

`unprotected_routes` lists the routes that state nothing; a test of each app expects none. Tokens are
random 256-bit secrets, so SHA-256 is enough: compared by digest, in constant time, never kept in plain.

    operator = bearer_auth(StaticTokens({"operator": token}))
    router = APIRouter(dependencies=[Depends(operator)])
    async def route(caller: Annotated[Principal, Depends(operator)]) -> ...
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import FastAPI, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.requests import Request

from iotistic.kernel.errors import Denied
from iotistic.kernel.web.attempts import FailedAttempts, caller_address
from iotistic.kernel.web.problems import Unauthenticated


class ScopeMissing(Denied):
    """The credential is valid but does not allow this."""

    code = "auth.scope_missing"


class NotLocal(Denied):
    """This is answered to callers on the same machine only."""

    code = "auth.not_local"


@dataclass(frozen=True)
class Principal:
    """Who calls: a stable name for logs and audit, and what it may do."""

    name: str
    scopes: frozenset[str] = field(default_factory=frozenset[str])


class AccessRule:
    """Base of the dependencies that say what a route needs; `states` is shown in reviews and tests."""

    states: str


Rule = Callable[..., Awaitable[object]]
"""An AccessRule as routers are given it: a dependency that lets a request through or raises."""


class Public(AccessRule):
    """Open to anybody, for a reason that has to be written down."""

    def __init__(self, reason: str) -> None:
        self.states = f"public: {reason}"

    async def __call__(self) -> None:
        """Let everybody in."""


class LocalOnly(AccessRule):
    """Open to callers on this machine. A request that came through a proxy counts as foreign."""

    states = "a caller on this machine"

    async def __call__(self, request: Request) -> None:
        """Raise NotLocal unless the connection itself comes from loopback."""
        proxied = {"forwarded", "x-forwarded-for", "via"} & set(request.headers.keys())
        if proxied or not _is_loopback(caller_address(request)):
            raise NotLocal(hint="ask from the machine itself, without a proxy between")


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def digest(token: str) -> bytes:
    """Return the SHA-256 that is kept and compared in the place of `token`."""
    return hashlib.sha256(token.encode()).digest()


class TokenSource(Protocol):
    """Where bearer tokens are looked up."""

    async def find(self, token: str) -> Principal | None:
        """Return who `token` belongs to, or None when it is not valid (now)."""
        ...


class StaticTokens:
    """Tokens given by the settings: name of the holder -> token."""

    def __init__(
        self, tokens: Mapping[str, SecretStr | str], *, scopes: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        """`scopes` gives each name what it may do; a name that is absent has no scope."""
        self._holders = [
            (
                digest(token if isinstance(token, str) else token.get_secret_value()),
                Principal(name, (scopes or {}).get(name, frozenset())),
            )
            for name, token in tokens.items()
        ]

    async def find(self, token: str) -> Principal | None:
        """Compare with every token, so that the time taken does not depend on which one fits."""
        presented = digest(token)
        found = [holder for known, holder in self._holders if hmac.compare_digest(known, presented)]
        return found[0] if found else None


_scheme = HTTPBearer(auto_error=False, description="`Authorization: Bearer <token>`")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]


class BearerAuth(AccessRule):
    """A valid bearer token, which holds `scope` when one is named; gives the `Principal`."""

    def __init__(self, source: TokenSource, *, scope: str | None, attempts: FailedAttempts | None) -> None:
        self._source = source
        self._scope = scope
        self._attempts = attempts
        self.states = f"a bearer token with scope {scope}" if scope else "a bearer token"

    async def __call__(self, request: Request, credentials: _Credentials) -> Principal:
        """Raise Unauthenticated (401), ScopeMissing (403) or RateLimited (429)."""
        if credentials is None:
            raise Unauthenticated(hint="send the header Authorization: Bearer <token>")
        caller = await self._source.find(credentials.credentials)
        if caller is None:
            # Only wrong tokens meet the limit: they cannot lock out who has the right one.
            if self._attempts:
                address = caller_address(request)
                self._attempts.check(address)
                self._attempts.failed(address)
            raise Unauthenticated("the token is not valid", hint="it may be mistyped, expired or revoked")
        if self._scope and self._scope not in caller.scopes:
            raise ScopeMissing(needed=self._scope)
        return caller


def bearer_auth(
    source: TokenSource, *, scope: str | None = None, attempts: FailedAttempts | None = None
) -> BearerAuth:
    """Return the dependency that lets holders of a valid token in.

    `attempts` slows down guessing; share one between all the rules of an app.
    """
    return BearerAuth(source, scope=scope, attempts=attempts)


def unprotected_routes(app: FastAPI) -> list[str]:
    """Return `METHODS path` of every route of `app` that does not depend on an AccessRule."""
    return [
        f"{','.join(sorted(route.methods or ()))} {route.path}"
        for route in iter_route_contexts(app.routes)
        if not any(_access_rules(getattr(route, "dependant", None)))
    ]


def _access_rules(dependant: Dependant | None) -> Iterator[AccessRule]:
    if dependant is None:
        return
    if isinstance(dependant.call, AccessRule):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _access_rules(inner)
