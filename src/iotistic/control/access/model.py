"""Permissions, the roles that hold them, and who may call: a person, an API key, or a device."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from iotistic.kernel.errors import Denied


class OutOfScope(Denied):
    """This credential is for another device."""

    code = "auth.out_of_scope"


class Permission(StrEnum):
    """What can be allowed to people and API keys; the names are those that dashboards know."""

    USER_READ = "user:read"
    USER_WRITE = "user:write"
    USER_DELETE = "user:delete"
    DEVICE_READ = "device:read"
    DEVICE_WRITE = "device:write"
    DEVICE_DELETE = "device:delete"
    DEVICE_CONTROL = "device:control"
    MQTT_USER_READ = "mqtt:user:read"
    MQTT_USER_WRITE = "mqtt:user:write"
    MQTT_ACL_MANAGE = "mqtt:acl:manage"
    API_KEY_READ = "api-key:read"
    API_KEY_CREATE = "api-key:create"
    API_KEY_REVOKE = "api-key:revoke"
    DATA_READ = "data:read"
    DATA_EXPORT = "data:export"
    DATA_DELETE = "data:delete"
    SETTINGS_READ = "settings:read"
    SETTINGS_WRITE = "settings:write"
    BILLING_READ = "billing:read"
    BILLING_MANAGE = "billing:manage"


class Role(StrEnum):
    """What a person is, from the one who may most to the one who may least."""

    OWNER = "owner"
    ADMIN = "admin"
    MANAGER = "manager"
    OPERATOR = "operator"
    VIEWER = "viewer"

    def outranks(self, other: "Role") -> bool:
        """Whether this role may do more than `other`."""
        return _RANKS[self] < _RANKS[other]

    def may_manage(self, other: "Role") -> bool:
        """Whether accounts of role `other` are made and changed by this one: owners' all, others' those below."""
        return self is Role.OWNER or self.outranks(other)


_RANKS = {role: rank for rank, role in enumerate(Role)}
_ALL = frozenset(Permission)
_BILLING = frozenset({Permission.BILLING_READ, Permission.BILLING_MANAGE})
_ENDINGS = frozenset(
    {Permission.USER_DELETE, Permission.DEVICE_DELETE, Permission.DATA_DELETE, Permission.API_KEY_REVOKE}
)

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.OWNER: _ALL,
        Role.ADMIN: _ALL - _BILLING,
        Role.MANAGER: _ALL - _BILLING - _ENDINGS,
        Role.OPERATOR: frozenset(
            {
                Permission.USER_READ,
                Permission.DEVICE_READ,
                Permission.DEVICE_CONTROL,
                Permission.MQTT_USER_READ,
                Permission.API_KEY_READ,
                Permission.DATA_READ,
                Permission.SETTINGS_READ,
            }
        ),
        Role.VIEWER: frozenset(
            {
                Permission.USER_READ,
                Permission.DEVICE_READ,
                Permission.DATA_READ,
                Permission.SETTINGS_READ,
            }
        ),
    }
)
"""What each role may do."""

KEY_SCOPES: frozenset[Permission] = _ALL - {
    Permission.USER_WRITE,
    Permission.USER_DELETE,
    Permission.API_KEY_CREATE,
    Permission.API_KEY_REVOKE,
}
"""What an API key can be given. None that makes credentials: a stolen key could make itself permanent."""


@dataclass(frozen=True)
class Scope:
    """Which devices a principal sees; None means all of the tenant. Every query starts from it."""

    devices: frozenset[UUID] | None = None

    def sees(self, device: UUID) -> bool:
        """Whether `device` lies in it."""
        return self.devices is None or device in self.devices

    def require(self, device: UUID) -> None:
        """Raise OutOfScope unless `device` lies in it."""
        if not self.sees(device):
            raise OutOfScope(device=str(device))

    def parameter(self) -> list[UUID] | None:
        """Return the argument of `($n::uuid[] IS NULL OR devices.uuid = ANY($n))`, which queries start with."""
        return None if self.devices is None else sorted(self.devices)


_EVERYTHING = Scope()


@dataclass(frozen=True, kw_only=True)
class UserPrincipal:
    """A person in a session."""

    user_id: UUID
    username: str
    role: Role
    session_id: UUID
    must_change_password: bool = False

    @property
    def name(self) -> str:
        """For logs and the audit trail; it stays when the person is renamed."""
        return f"user:{self.user_id}"

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the role allows now."""
        return ROLE_PERMISSIONS[self.role]

    @property
    def scope(self) -> Scope:
        """All devices of the tenant."""
        return _EVERYTHING


@dataclass(frozen=True, kw_only=True)
class ApiKeyPrincipal:
    """A program with an API key; it may never do more than the person who made the key may do now."""

    key_id: str
    user_id: UUID
    permissions: frozenset[Permission]

    @property
    def name(self) -> str:
        """For logs and the audit trail."""
        return f"api-key:{self.key_id}"

    @property
    def scope(self) -> Scope:
        """All devices of the tenant."""
        return _EVERYTHING


@dataclass(frozen=True, kw_only=True)
class DevicePrincipal:
    """A device with its own credential: it sees itself and holds no permission."""

    device_uuid: UUID

    @property
    def name(self) -> str:
        """For logs and the audit trail."""
        return f"device:{self.device_uuid}"

    @property
    def permissions(self) -> frozenset[Permission]:
        """None: what a device may do, its routes say."""
        return frozenset()

    @property
    def scope(self) -> Scope:
        """Itself."""
        return Scope(frozenset({self.device_uuid}))


Caller = UserPrincipal | ApiKeyPrincipal
"""Who may hold a permission."""
