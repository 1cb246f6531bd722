"""What /auth/mqtt-users takes and gives; snake_case, as dashboards of the earlier system do."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from iotistic.control.broker.model import Acl, MqttUser, read_access
from iotistic.control.broker.service import AclChange, GivenUser

_NO_NUL = r"^[^\x00]*$"
_Name = Annotated[str, StringConstraints(max_length=255, pattern=_NO_NUL)]
_Topic = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=_NO_NUL)]
_Password = Annotated[SecretStr, Field(max_length=1024)]
_Priority = Annotated[int, Field(ge=-1000, le=1000)]


class Shape(BaseModel):
    """Nothing beside what is named."""

    model_config = ConfigDict(extra="forbid")


class AclRow(Shape):
    """One rule: `access` is the sum of 1 read, 2 write, 4 subscribe."""

    id: int
    user_id: int
    topic: str
    access: int
    priority: int
    created_at: datetime

    @classmethod
    def of(cls, acl: Acl) -> "AclRow":
        """Show a rule."""
        return cls(
            id=acl.id,
            user_id=acl.user_id,
            topic=acl.topic,
            access=int(acl.access),
            priority=acl.priority,
            created_at=acl.created_at,
        )


class MqttUserRow(Shape):
    """A user; never a password or its hash."""

    id: int
    username: str
    is_superuser: bool
    is_active: bool
    created_at: datetime
    updated_at: datetime
    acls: list[AclRow]

    @classmethod
    def of(cls, user: MqttUser) -> "MqttUserRow":
        """Show a user."""
        return cls(
            id=user.id,
            username=user.username,
            is_superuser=user.is_superuser,
            is_active=user.is_active,
            created_at=user.created_at,
            updated_at=user.updated_at,
            acls=[AclRow.of(acl) for acl in user.acls],
        )


class NewMqttUserResponse(MqttUserRow):
    """A user that was just made; `password` is there when it was made here, in this answer and nowhere else."""

    password: str | None = None

    @classmethod
    def made(cls, given: GivenUser) -> "NewMqttUserResponse":
        """Show the password, this once."""
        shown = given.password.get_secret_value() if given.password else None
        return cls(**MqttUserRow.of(given.user).model_dump(), password=shown)


class MqttUserRequest(Shape):
    """A new user; without a password, one is made."""

    username: _Name
    password: _Password | None = None
    is_superuser: bool = False
    is_active: bool = True


class MqttUserChangeRequest(Shape):
    """What to change; what is absent stays as it is."""

    password: _Password | None = None
    is_superuser: bool | None = None
    is_active: bool | None = None

    def changes(self) -> dict[str, Any]:
        """Return what is said."""
        return self.model_dump(exclude_none=True)


class AclRequest(Shape):
    """A new rule; `rw` (1 read, 2 write, 3 both) is how the earlier system said it."""

    topic: _Topic
    access: int | None = None
    rw: int | None = None
    priority: _Priority = 0


class AclChangeRequest(Shape):
    """What to change of a rule."""

    topic: _Topic | None = None
    access: int | None = None
    rw: int | None = None
    priority: _Priority | None = None

    def change(self) -> AclChange:
        """Return what is said. Raises AccessInvalid."""
        says_access = self.access is not None or self.rw is not None
        access = read_access(self.access, self.rw) if says_access else None
        return AclChange(topic=self.topic, access=access, priority=self.priority)
