"""/users and /api-keys: accounts of others, and keys of programs."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from iotistic.control.access.model import Permission, UserPrincipal
from iotistic.control.access.rules import requires, signed_in
from iotistic.control.accounts.api_keys import ApiKeyService
from iotistic.control.accounts.schemas import (
    ApiKeyRequest,
    ApiKeyRow,
    GivenPasswordResponse,
    NewApiKeyResponse,
    PermissionsResponse,
    UserChangeRequest,
    UserCreateRequest,
    UserRow,
)
from iotistic.control.accounts.service import UserService

_Reader = requires(Permission.USER_READ)
_Writer = Annotated[UserPrincipal, signed_in(Permission.USER_WRITE)]
_Deleter = Annotated[UserPrincipal, signed_in(Permission.USER_DELETE)]
_KeyMaker = Annotated[UserPrincipal, signed_in(Permission.API_KEY_CREATE)]
_KeyRevoker = Annotated[UserPrincipal, signed_in(Permission.API_KEY_REVOKE)]
_KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]


def user_router(users: UserService) -> APIRouter:
    """Return the routes below /users."""
    router = APIRouter(prefix="/users", tags=["users"])

    @router.get("/me/permissions")
    async def own_permissions(caller: Annotated[UserPrincipal, signed_in()]) -> PermissionsResponse:
        """What the caller may do."""
        return PermissionsResponse(role=caller.role, permissions=sorted(caller.permissions))

    @router.get("", dependencies=[_Reader])
    async def list_users() -> list[UserRow]:
        """Every account, by name."""
        return [UserRow.of(user) for user in await users.list_all()]

    @router.get("/{user_id}", dependencies=[_Reader])
    async def find_user(user_id: UUID) -> UserRow:
        """One account."""
        return UserRow.of(await users.find(user_id))

    @router.post("", status_code=201)
    async def create_user(asked: UserCreateRequest, caller: _Writer) -> UserRow:
        """Make an account of a role below one's own; owners make any."""
        made = await users.create(asked.new_user(), asked.password.get_secret_value(), by=caller)
        return UserRow.of(made)

    @router.put("/{user_id}")
    @router.patch("/{user_id}")
    async def change_user(user_id: UUID, asked: UserChangeRequest, caller: _Writer) -> UserRow:
        """Change what the body names; a deactivated user's sessions end at once."""
        return UserRow.of(await users.change(user_id, asked.model_dump(exclude_unset=True), by=caller))

    @router.delete("/{user_id}", status_code=204)
    async def delete_user(user_id: UUID, caller: _Deleter) -> None:
        """Remove an account with its sessions and API keys."""
        await users.delete(user_id, by=caller)

    @router.post("/{user_id}/reset-password")
    async def reset_password(user_id: UUID, caller: _Writer) -> GivenPasswordResponse:
        """Give somebody a random password, to be changed at the next login; owners only."""
        return GivenPasswordResponse.of(await users.reset_password(user_id, by=caller))

    _ = own_permissions, list_users, find_user, create_user, change_user, delete_user, reset_password
    return router


def api_key_router(api_keys: ApiKeyService) -> APIRouter:
    """Return the routes below /api-keys."""
    router = APIRouter(prefix="/api-keys", tags=["api keys"])

    @router.get("", dependencies=[requires(Permission.API_KEY_READ)])
    async def list_keys() -> list[ApiKeyRow]:
        """Every key, newest first, without secrets."""
        return [ApiKeyRow.of(key) for key in await api_keys.list_all()]

    @router.post("", status_code=201)
    async def create_key(asked: ApiKeyRequest, caller: _KeyMaker) -> NewApiKeyResponse:
        """Make a key with a part of one's own permissions; its secret is in this answer and nowhere else."""
        expires_in = timedelta(days=asked.expires_in_days) if asked.expires_in_days else None
        return NewApiKeyResponse.made(await api_keys.create(asked.name, asked.scopes, expires_in, by=caller))

    @router.delete("/{key_id}")
    async def revoke_key(key_id: _KeyId, caller: _KeyRevoker) -> ApiKeyRow:
        """End a key now."""
        return ApiKeyRow.of(await api_keys.revoke(key_id, by=caller))

    _ = list_keys, create_key, revoke_key
    return router
