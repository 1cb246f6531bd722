"""/mosquitto-auth: brokers that ask over HTTP (mosquitto-go-auth and the like) whether somebody may.

The status is the answer: 200 yes; 401 and 403 no; anything else no as well. Brokers show a credential of their
own, as a bearer token or as the password of basic authentication, which is all that some of them can send.
"""

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.requests import Request

from iotistic.control.broker.judging import AccessJudge
from iotistic.kernel.errors import Denied
from iotistic.kernel.web.attempts import FailedAttempts, caller_address
from iotistic.kernel.web.auth import AccessRule, StaticTokens
from iotistic.kernel.web.problems import Unauthenticated

_Text = Annotated[str, Field(max_length=65_535)]
_HINT = "send Authorization: Bearer <BROKER_AUTH_TOKEN>, or the token as the password of basic authentication"


class LoginRefused(Unauthenticated):
    """The broker should refuse this name and password."""

    code = "mqtt.login_refused"


class AccessRefused(Denied):
    """The broker should refuse this."""

    code = "mqtt.access_refused"


class BrokerCredential(AccessRule):
    """The credential that brokers show; without one in the settings nobody is let in."""

    states = "the broker's service credential"

    def __init__(self, token: SecretStr | None, attempts: FailedAttempts) -> None:
        self._tokens = StaticTokens({"broker": token} if token else {})
        self._attempts = attempts

    async def __call__(self, request: Request) -> None:
        """Raise Unauthenticated (401) or RateLimited (429)."""
        presented = _presented(request.headers.get("Authorization", ""))
        if presented is not None and await self._tokens.find(presented):
            return
        if presented is not None:
            # Only wrong credentials meet the limit: they cannot lock out the broker that has the right one.
            address = caller_address(request)
            self._attempts.check(address)
            self._attempts.failed(address)
        raise Unauthenticated(hint=_HINT)


class NameQuestion(BaseModel):
    """Whose rights are meant."""

    model_config = ConfigDict(extra="ignore")

    username: _Text = ""
    clientid: _Text = ""


class LoginQuestion(NameQuestion):
    """Who wants to connect."""

    password: SecretStr = Field(default=SecretStr(""), max_length=65_535)


class AccessQuestion(NameQuestion):
    """Who wants to use which topic; `acc` is 1 read, 2 write, 3 both, 4 subscribe."""

    topic: _Text
    acc: int


class Yes(BaseModel):
    """It is allowed."""

    ok: bool = True


def broker_asking_router(
    judge: AccessJudge, token: SecretStr | None, attempts: FailedAttempts | None = None
) -> APIRouter:
    """Return the routes; they belong at the root of the API, without its version."""
    credential = BrokerCredential(token, attempts or FailedAttempts())
    router = APIRouter(
        prefix="/mosquitto-auth", tags=["brokers that ask"], dependencies=[Depends(credential)]
    )

    @router.post("/user")
    async def ask_user(asked: LoginQuestion) -> Yes:
        """Whether a name and password may connect."""
        if not await judge.may_connect(asked.username, asked.password.get_secret_value()):
            raise LoginRefused
        return Yes()

    @router.post("/superuser")
    async def ask_superuser(asked: NameQuestion) -> Yes:
        """Whether a name may everything."""
        if not await judge.is_superuser(asked.username):
            raise AccessRefused
        return Yes()

    @router.post("/acl")
    async def ask_acl(asked: AccessQuestion) -> Yes:
        """Whether a name may use a topic."""
        if not await judge.may(asked.username, asked.clientid, asked.acc, asked.topic):
            raise AccessRefused
        return Yes()

    _ = ask_user, ask_superuser, ask_acl
    return router


def _presented(header: str) -> str | None:
    """Return the token of a header, None when it has none."""
    scheme, _, value = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip() or None
        case "basic":
            try:
                plain = base64.b64decode(value.strip(), validate=True).decode()
            except (binascii.Error, ValueError):
                return ""
            return plain.partition(":")[2]
        case _:
            return None
