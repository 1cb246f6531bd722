"""/auth: log in, refresh, log out, and one's own account."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import UserPrincipal
from iotistic.control.access.rules import public, signed_in
from iotistic.control.accounts.model import Origin, RegistrationClosed
from iotistic.control.accounts.schemas import (
    LoginRequest,
    LogoutRequest,
    Message,
    PasswordChangeRequest,
    RefreshRequest,
    SessionRow,
    TokenResponse,
    UserRow,
)
from iotistic.control.accounts.service import UserService
from iotistic.control.accounts.sessions import SessionService

_Person = Annotated[UserPrincipal, signed_in()]


def auth_router(sessions: SessionService, users: UserService, addresses: ClientAddresses) -> APIRouter:
    """Return the routes below /auth."""
    router = APIRouter(prefix="/auth", tags=["auth"])
    router.include_router(_entrance(sessions, addresses))
    router.include_router(_own_account(sessions, users, addresses))
    return router


def _origin(request: Request, addresses: ClientAddresses) -> Origin:
    return Origin(addresses.address(request), addresses.site(request), request.headers.get("user-agent", ""))


def _entrance(sessions: SessionService, addresses: ClientAddresses) -> APIRouter:
    router = APIRouter()

    @router.post("/register", dependencies=[public("refuses everybody, and says who makes accounts")])
    async def register() -> Message:
        """Refused: who may use an installation, its owners say."""
        raise RegistrationClosed(hint="ask an owner or an administrator of this installation for an account")

    @router.post("/login", dependencies=[public("takes a name and a password, braked")])
    async def login(asked: LoginRequest, request: Request) -> TokenResponse:
        """Begin a session with a name or mail address, and a password."""
        origin = _origin(request, addresses)
        tokens = await sessions.login(asked.username, asked.password.get_secret_value(), origin)
        return TokenResponse.of("logged in", tokens)

    @router.post("/refresh", dependencies=[public("takes a refresh token")])
    async def refresh(asked: RefreshRequest) -> TokenResponse:
        """Replace a refresh token by the next one; each is good for one use."""
        return TokenResponse.of("refreshed", await sessions.refresh(asked.refresh_token.get_secret_value()))

    _ = register, login, refresh
    return router


def _own_account(sessions: SessionService, users: UserService, addresses: ClientAddresses) -> APIRouter:
    router = APIRouter(dependencies=[signed_in()])

    @router.get("/me")
    async def me(caller: _Person) -> UserRow:
        """One's own account."""
        return UserRow.of(await users.find(caller.user_id))

    @router.post("/logout")
    async def logout(caller: _Person, asked: LogoutRequest | None = None) -> Message:
        """End this session, or one's own session that a refresh token belongs to."""
        token = asked.refresh_token if asked else None
        await sessions.logout(caller, token.get_secret_value() if token else None)
        return Message(message="logged out")

    @router.post("/logout-all")
    async def logout_all(caller: _Person) -> Message:
        """End all of one's own sessions, this one too."""
        return Message(message=f"{await sessions.end_all(caller)} session(s) ended")

    @router.get("/sessions")
    async def list_sessions(caller: _Person) -> list[SessionRow]:
        """One's own sessions, the last used first."""
        return [SessionRow.of(session, caller) for session in await sessions.list_open(caller)]

    @router.delete("/sessions/{session_id}", status_code=204)
    async def end_session(session_id: UUID, caller: _Person) -> None:
        """End one of one's own sessions."""
        await sessions.end(caller, session_id)

    @router.post("/change-password")
    async def change_password(asked: PasswordChangeRequest, caller: _Person, request: Request) -> Message:
        """Replace one's own password; all other sessions end."""
        await users.change_password(
            caller,
            asked.current_password.get_secret_value(),
            asked.new_password.get_secret_value(),
            _origin(request, addresses),
        )
        return Message(message="password changed; other sessions have ended")

    _ = me, logout, logout_all, list_sessions, end_session, change_password
    return router
