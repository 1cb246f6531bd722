"""Users, sessions and API keys, and why something about them is refused."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from iotistic.control.access.model import Permission, Role
from iotistic.kernel.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from iotistic.kernel.web.problems import Unauthenticated


class LoginRefused(Unauthenticated):
    """The name or the password is wrong, or the account is not active."""

    code = "login.refused"


class RefreshRefused(Unauthenticated):
    """The refresh token is not valid; log in again."""

    code = "session.refresh_refused"


class RefreshRaced(Conflict):
    """This refresh token was used a moment ago; use the one that was given for it."""

    code = "session.refresh_raced"


class SessionOver(Unauthenticated):
    """The session has ended."""

    code = "auth.session_over"


class CurrentPasswordWrong(Denied):
    """The current password is wrong."""

    code = "password.current_wrong"


class PasswordRefused(Invalid):
    """The password is too easy to guess."""

    code = "password.refused"


class HashingBusy(Unavailable):
    """Too many people are logging in at this moment."""

    code = "login.busy"


class RegistrationClosed(Denied):
    """Accounts are made by people who have one."""

    code = "accounts.registration_closed"


class UserUnknown(NotFound):
    """There is no such user."""

    code = "user.unknown"


class UserInvalid(Invalid):
    """The name or the mail address cannot be used."""

    code = "user.invalid"


class UserTaken(Conflict):
    """Another account has this name or mail address."""

    code = "user.taken"


class RoleTooHigh(Denied):
    """Your role does not make or change accounts of that role."""

    code = "user.role_too_high"


class OwnerOnly(Denied):
    """Only an owner may do this."""

    code = "user.owner_only"


class OwnAccount(Invalid):
    """Nobody does this to their own account."""

    code = "user.own_account"


class LastOwner(Conflict):
    """This is the last active owner; without one nobody could make another."""

    code = "user.last_owner"


class OwnerExists(Conflict):
    """There is an owner already."""

    code = "user.owner_exists"


class SessionUnknown(NotFound):
    """You have no such session."""

    code = "session.unknown"


class KeyUnknown(NotFound):
    """There is no such API key."""

    code = "api_key.unknown"


class ScopeTooWide(Denied):
    """A key cannot be given what its maker may not do, nor anything that makes credentials."""

    code = "api_key.scope_too_wide"


class EndReason(StrEnum):
    """Why a session ended before its time."""

    LOGOUT = "logout"
    REUSE = "reuse"
    PASSWORD = "password"  # noqa: S105  a reason
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True)
class User:
    """A person's account, without the password's hash."""

    id: UUID
    username: str
    email: str
    full_name: str
    role: Role
    is_active: bool
    must_change_password: bool
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class NewUser:
    """What an account is made of; `must_change_password` when somebody else chose the password."""

    username: str
    email: str
    full_name: str = ""
    role: Role
    must_change_password: bool


@dataclass(frozen=True, kw_only=True)
class Session:
    """One login of a user."""

    id: UUID
    user_id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    address: str
    user_agent: str

    def is_open(self, now: datetime) -> bool:
        """Whether it has neither ended nor expired."""
        return self.ended_at is None and self.expires_at > now


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key of a program, without its secret."""

    id: str
    name: str
    user_id: UUID
    scopes: frozenset[Permission]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Origin:
    """Where a login comes from: `address` as shown to its user, `site` as attempts are counted."""

    address: str
    site: str
    user_agent: str = ""
