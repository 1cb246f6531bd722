"""/auth/mqtt-users and /auth/mqtt-acls: who may use the broker.

Accounts are made by people, not by API keys: a stolen key could give itself a way to stay.
"""

from typing import Annotated

from fastapi import APIRouter, Path

from iotistic.control.access.model import Caller, Permission, UserPrincipal
from iotistic.control.access.rules import requires, signed_in
from iotistic.control.broker.model import read_access
from iotistic.control.broker.service import MqttUserService
from iotistic.control.broker.user_schemas import (
    AclChangeRequest,
    AclRequest,
    AclRow,
    MqttUserChangeRequest,
    MqttUserRequest,
    MqttUserRow,
    NewMqttUserResponse,
)
from iotistic.kernel.web.describing import Answer, answered

_MOST_ID = 2**63 - 1
_Id = Annotated[int, Path(ge=1, le=_MOST_ID)]
_READER = requires(Permission.MQTT_USER_READ)
_Writer = Annotated[UserPrincipal, signed_in(Permission.MQTT_USER_WRITE)]
_Manager = Annotated[Caller, requires(Permission.MQTT_ACL_MANAGE)]


class MqttGone(Answer):
    """That a user or a rule of the broker is removed."""

    message: str


def mqtt_user_router(users: MqttUserService) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/auth", tags=["mqtt users"])

    @router.get("/mqtt-users", dependencies=[_READER])
    async def list_mqtt_users() -> list[MqttUserRow]:
        """Every user of the broker, with its rules."""
        return [MqttUserRow.of(user) for user in await users.list_all()]

    @router.get("/mqtt-users/{user_id}", dependencies=[_READER])
    async def find_mqtt_user(user_id: _Id) -> MqttUserRow:
        """One user, with its rules."""
        return MqttUserRow.of(await users.find(user_id))

    @router.post("/mqtt-users", status_code=201)
    async def create_mqtt_user(asked: MqttUserRequest, caller: _Writer) -> NewMqttUserResponse:
        """Make a user, who may nothing until rules allow it; a password that is made here is shown this once."""
        given = await users.create(
            asked.username,
            asked.password,
            is_superuser=asked.is_superuser,
            is_active=asked.is_active,
            by=caller.name,
        )
        return NewMqttUserResponse.made(given)

    @router.put("/mqtt-users/{user_id}")
    async def change_mqtt_user(user_id: _Id, asked: MqttUserChangeRequest, caller: _Writer) -> MqttUserRow:
        """Change what the body names; connections end when the broker takes it over."""
        return MqttUserRow.of(await users.change(user_id, asked.changes(), by=caller.name))

    @router.delete("/mqtt-users/{user_id}", responses=answered(MqttGone))
    async def delete_mqtt_user(user_id: _Id, caller: _Writer) -> dict[str, str]:
        """Remove a user with its rules."""
        name = await users.remove(user_id, by=caller.name)
        return {"message": f"the broker's user {name} is removed"}

    _ = list_mqtt_users, find_mqtt_user, create_mqtt_user, change_mqtt_user, delete_mqtt_user
    router.include_router(_acl_router(users))
    return router


def _acl_router(users: MqttUserService) -> APIRouter:
    router = APIRouter()

    @router.post("/mqtt-users/{user_id}/acls", status_code=201)
    async def create_mqtt_acl(user_id: _Id, asked: AclRequest, caller: _Manager) -> AclRow:
        """Let a user read, write or subscribe to topics."""
        access = read_access(asked.access, asked.rw)
        return AclRow.of(await users.add_acl(user_id, asked.topic, access, asked.priority, by=caller.name))

    @router.put("/mqtt-acls/{acl_id}")
    async def change_mqtt_acl(acl_id: _Id, asked: AclChangeRequest, caller: _Manager) -> AclRow:
        """Change what the body names."""
        return AclRow.of(await users.change_acl(acl_id, asked.change(), by=caller.name))

    @router.delete("/mqtt-acls/{acl_id}", responses=answered(MqttGone))
    async def delete_mqtt_acl(acl_id: _Id, caller: _Manager) -> dict[str, str]:
        """Take a rule away."""
        await users.remove_acl(acl_id, by=caller.name)
        return {"message": "the rule is removed"}

    _ = create_mqtt_acl, change_mqtt_acl, delete_mqtt_acl
    return router
