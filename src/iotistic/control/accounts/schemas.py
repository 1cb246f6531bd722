"""What /auth, /users and /api-keys take and give; camelCase, as dashboards of the earlier system do."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic.alias_generators import to_camel

from iotistic.control.access.model import Permission, Role, UserPrincipal
from iotistic.control.accounts.api_keys import NewApiKey
from iotistic.control.accounts.model import ApiKey, NewUser, Session, User
from iotistic.control.accounts.service import GivenPassword
from iotistic.control.accounts.sessions import Tokens

_NO_NUL = r"^[^\x00]*$"
ShortText = Annotated[str, StringConstraints(max_length=254, pattern=_NO_NUL)]
FullName = Annotated[str, StringConstraints(max_length=200, pattern=_NO_NUL)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class Shape(BaseModel):
    """Names in camelCase on the wire; snake_case is read too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class LoginRequest(Shape):
    """Who logs in: `username` may be the mail address."""

    username: ShortText
    password: Password


class RefreshRequest(Shape):
    """The refresh token of the last login or refresh."""

    refresh_token: SecretStr = Field(max_length=200)


class LogoutRequest(Shape):
    """Which session is ended: the one of this refresh token, or the caller's."""

    refresh_token: SecretStr | None = Field(default=None, max_length=200)


class PasswordChangeRequest(Shape):
    """The password as it is and as it shall be."""

    current_password: Password
    new_password: Password


class UserRow(Shape):
    """An account."""

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

    @classmethod
    def of(cls, user: User) -> "UserRow":
        """Show an account."""
        return cls.model_validate(user, from_attributes=True)


class TokenData(Shape):
    """Tokens of a session; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: UserRow


class TokenResponse(Shape):
    """What a login and a refresh answer."""

    message: str
    data: TokenData

    @classmethod
    def of(cls, message: str, tokens: Tokens) -> "TokenResponse":
        """Show the tokens, this once."""
        data = TokenData(
            access_token=tokens.access,
            refresh_token=tokens.refresh.get_secret_value(),
            expires_in=tokens.access_lifetime_s,
            user=UserRow.of(tokens.user),
        )
        return cls(message=message, data=data)


class Message(Shape):
    """That it is done."""

    message: str


class SessionRow(Shape):
    """One login; `is_this` marks the session that asks."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    is_this: bool

    @classmethod
    def of(cls, session: Session, caller: UserPrincipal) -> "SessionRow":
        """Show a session to its user."""
        return cls(
            id=session.id,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.expires_at,
            address=session.address,
            user_agent=session.user_agent,
            is_this=session.id == caller.session_id,
        )


class UserCreateRequest(Shape):
    """A new account; its user has to change the password at the first login."""

    username: ShortText
    email: ShortText
    password: Password
    full_name: FullName = ""
    role: Role = Role.VIEWER

    def new_user(self) -> NewUser:
        """Return what the account is made of."""
        return NewUser(
            username=self.username,
            email=self.email,
            full_name=self.full_name,
            role=self.role,
            must_change_password=True,
        )


class UserChangeRequest(Shape):
    """What to change; what is absent stays as it is."""

    email: ShortText = ""
    full_name: FullName = ""
    role: Role = Role.VIEWER
    is_active: bool = True


class PermissionsResponse(Shape):
    """What the caller may do."""

    role: Role
    permissions: list[Permission]


class GivenPasswordResponse(Shape):
    """A password to be told to its user; it is in this answer and nowhere else."""

    user: UserRow
    password: str

    @classmethod
    def of(cls, given: GivenPassword) -> "GivenPasswordResponse":
        """Show the password, this once."""
        return cls(user=UserRow.of(given.user), password=given.password.get_secret_value())


class ApiKeyRequest(Shape):
    """A new key; without `expires_in_days` it is good until it is revoked."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL)]
    scopes: frozenset[Permission] = Field(min_length=1)
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)


class ApiKeyRow(Shape):
    """A key, without its secret."""

    id: str
    name: str
    user_id: UUID
    scopes: list[Permission]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> "ApiKeyRow":
        """Show a key."""
        return cls(
            id=key.id,
            name=key.name,
            user_id=key.user_id,
            scopes=sorted(key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
            revoked_at=key.revoked_at,
        )


class NewApiKeyResponse(ApiKeyRow):
    """A key that was just made; `key` is in this answer and nowhere else."""

    key: str

    @classmethod
    def made(cls, new: NewApiKey) -> "NewApiKeyResponse":
        """Show the secret, this once."""
        return cls(**ApiKeyRow.of(new.key).model_dump(), key=new.secret.get_secret_value())
