"""What a route needs of its caller, said at the route itself.

    @router.get("/devices", dependencies=[requires(Permission.DEVICE_READ)])
    async def devices() -> ...

    @router.get("/device/{uuid}/state")
    async def state(caller: Annotated[DevicePrincipal, device_credential(path="uuid")]) -> ...

The declarations are plain data; the `Gate` that knows how credentials are looked up is put into the app
once, by `install_gate`. An app without one refuses everything that is not public.
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import Depends, FastAPI, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import (
    ApiKeyPrincipal,
    Caller,
    DevicePrincipal,
    OutOfScope,
    Permission,
    UserPrincipal,
)
from iotistic.kernel.errors import Denied, Unavailable
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.auth import AccessRule, Public
from iotistic.kernel.web.problems import Unauthenticated

_NOT_VALID = "the credential is not valid"
_TRY = "it may be mistyped, expired or revoked"


class PermissionMissing(Denied):
    """Your role, or the scopes of this API key, do not allow this."""

    code = "auth.permission_missing"


class PersonNeeded(Denied):
    """This is for people who have logged in, not for API keys."""

    code = "auth.person_needed"


class PasswordChangeNeeded(Denied):
    """The password was set by somebody else and has to be changed first."""

    code = "auth.password_change_needed"


class GateMissing(Unavailable):
    """This server has not been told how to look up credentials."""

    code = "auth.gate_missing"


class CallerSource(Protocol):
    """Where people and API keys are looked up."""

    async def find(self, token: str) -> Caller | None:
        """Return whose bearer token this is, or None when it is not valid.

        May raise Unauthenticated itself, for one that is no guess and should not be counted as one.
        """
        ...


class DeviceSource(Protocol):
    """Where devices are looked up."""

    async def find(self, key: str, claimed: UUID | None) -> DevicePrincipal | None:
        """Return whose key this is; `claimed` is the device the request is about, where the path says it."""
        ...


class PlanSource(Protocol):
    """What the installation's plan allows."""

    async def admit(self, request: Request) -> None:
        """Raise PlanRefused for a request that the plan does not allow."""
        ...


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How credentials are looked up; guesses are counted by where they come from."""

    callers: CallerSource
    devices: DeviceSource | None
    addresses: ClientAddresses
    attempts: FailedAttempts
    plan: PlanSource | None = None
    """Who is asked, once the caller is known and allowed, whether the plan allows it too."""

    async def caller(self, request: Request, token: str | None) -> Caller:
        """Return who calls. Raises Unauthenticated (401) or RateLimited (429)."""
        if token is None:
            raise Unauthenticated(hint="log in, or send an API key: Authorization: Bearer <token>")
        found = await self.callers.find(token)
        if found is None:
            raise self._refusal(request)
        return found

    async def device(self, request: Request, key: str | None, claimed: UUID | None) -> DevicePrincipal:
        """Return which device calls. Raises Unauthenticated (401) or RateLimited (429)."""
        if key is None:
            raise Unauthenticated(hint="send the device's key: X-Device-API-Key, or Authorization: Bearer")
        found = await self.devices.find(key, claimed) if self.devices else None
        if found is None:
            raise self._refusal(request)
        return found

    def _refusal(self, request: Request) -> Unauthenticated:
        # Only wrong credentials meet the limit: they cannot lock out who has a right one.
        site = self.addresses.site(request)
        self.attempts.check(site)
        self.attempts.failed(site)
        return Unauthenticated(_NOT_VALID, hint=_TRY)


def install_gate(app: FastAPI, gate: Gate) -> None:
    """Let the rules of `app` look up credentials through `gate`."""
    app.state.gate = gate


def calling(request: Request) -> Caller:
    """Return who calls, inside a route that needs a permission or a person. Raises Unauthenticated elsewhere."""
    caller = getattr(request.state, "caller", None)
    if not isinstance(caller, UserPrincipal | ApiKeyPrincipal):
        raise Unauthenticated
    return caller


def _gate(request: Request) -> Gate:
    gate = getattr(request.app.state, "gate", None)
    if not isinstance(gate, Gate):
        raise GateMissing
    return gate


async def _admit(request: Request) -> None:
    if (plan := _gate(request).plan) is not None:
        await plan.admit(request)


_bearer = HTTPBearer(auto_error=False, description="An access token from /auth/login, or an API key")
_device_key = APIKeyHeader(name="X-Device-API-Key", auto_error=False, description="A device's own key")
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
_DeviceKey = Annotated[str | None, Security(_device_key)]


class Needs(AccessRule):
    """A person or an API key that holds a permission; gives the caller."""

    def __init__(self, permission: Permission) -> None:
        self._permission = permission
        self.states = permission.value

    async def __call__(self, request: Request, credentials: _Bearer) -> Caller:
        """Raise Unauthenticated, PermissionMissing or PasswordChangeNeeded."""
        caller = await _gate(request).caller(request, credentials.credentials if credentials else None)
        _require(caller, self._permission)
        await _admit(request)
        request.state.caller = caller
        return caller


class Person(AccessRule):
    """Somebody who has logged in, and holds a permission when one is named; gives the person."""

    def __init__(self, permission: Permission | None) -> None:
        self._permission = permission
        self.states = f"{permission.value}, a person" if permission else "a person"

    async def __call__(self, request: Request, credentials: _Bearer) -> UserPrincipal:
        """Raise Unauthenticated, PersonNeeded, PermissionMissing or PasswordChangeNeeded."""
        caller = await _gate(request).caller(request, credentials.credentials if credentials else None)
        if isinstance(caller, ApiKeyPrincipal):
            raise PersonNeeded(hint="log in with a name and a password")
        if self._permission:
            _require(caller, self._permission)
        await _admit(request)
        request.state.caller = caller
        return caller


def _require(caller: Caller, permission: Permission) -> None:
    if isinstance(caller, UserPrincipal) and caller.must_change_password:
        raise PasswordChangeNeeded(hint="POST /auth/change-password first")
    if permission not in caller.permissions:
        raise PermissionMissing(
            hint="ask an owner for a role, or a key, that allows it", permission=permission.value
        )


class DeviceCredential(AccessRule):
    """A device's own credential; with `path`, of the device that this part of the path names."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self.states = f"the credential of device {{{path}}}" if path else "a device's credential"

    async def __call__(self, request: Request, bearer: _Bearer, key: _DeviceKey) -> DevicePrincipal:
        """Raise Unauthenticated, or OutOfScope for the credential of another device."""
        claimed = _uuid(request.path_params.get(self._path)) if self._path else None
        presented = key or (bearer.credentials if bearer else None)
        device = await _gate(request).device(request, presented, claimed)
        if self._path and (claimed is None or not device.scope.sees(claimed)):
            raise OutOfScope(hint="a device speaks for itself only")
        return device


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


@cache
def requires(permission: Permission) -> Any:
    """Declare that a route needs `permission`; as a parameter it gives the `Caller`."""
    return Depends(Needs(permission))


@cache
def signed_in(permission: Permission | None = None) -> Any:
    """Declare that a route is for people, not for API keys; as a parameter it gives the `UserPrincipal`."""
    return Depends(Person(permission))


@cache
def device_credential(*, path: str | None = None) -> Any:
    """Declare that a route is for devices; as a parameter it gives the `DevicePrincipal`.

    `path` names the part of the path that holds the device's uuid, which must then be its own.
    """
    return Depends(DeviceCredential(path))


def public(reason: str) -> Any:
    """Declare that a route is open to everybody, for a reason that reviewers can judge."""
    return Depends(Public(reason))
