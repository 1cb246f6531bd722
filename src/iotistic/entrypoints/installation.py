"""The running installation as a command sees it: where it listens, and a client for its API.

`iotistic up` holds a lock while it runs and writes `endpoints.json` once everything is ready. Commands
read both, so that a killed installation is never taken for a running one. `IOTISTIC_API_URL` with
`IOTISTIC_API_TOKEN` points the commands at an installation on another machine.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar, cast

import httpx2
from pydantic import SecretStr, TypeAdapter, ValidationError

from iotistic.kernel.errors import Conflict, Denied, Invalid, IotisticError, NotFound, Unavailable
from iotistic.kernel.files import write_atomic
from iotistic.kernel.home import Home, HomeSettings
from iotistic.kernel.settings import load_settings

_LOCK = "up.lock"
_TIMEOUT_S = 30.0


class NotRunning(Unavailable):
    """Nothing is running here."""

    code = "installation.not_running"


class SomebodyElses(Denied):
    """Whether an installation runs is for its user to see."""

    code = "installation.of_another_user"


class AnswerNotUnderstood(Unavailable):
    """The API answered with something this version does not understand."""

    code = "api.answer_invalid"


class RequestImpossible(Invalid):
    """This cannot be asked of the API: an address or a name is too long, or holds what addresses cannot."""

    code = "api.request_impossible"


class TokenUnusable(Denied):
    """The token for IOTISTIC_API_URL is not set, or is no token."""

    code = "api.token_unusable"


class ClientSettings(HomeSettings):
    """Which installation the commands talk to."""

    iotistic_api_url: str | None = None
    """Base URL of an installation elsewhere, such as https://iot.example.com; unset means the local one."""
    iotistic_api_token: SecretStr | None = None
    """Bearer token for `IOTISTIC_API_URL`; the local installation's token is read from its home."""


@dataclass(frozen=True)
class Endpoints:
    """Addresses of a running installation; `health` maps a process to its readiness URL."""

    home: str
    api: str
    mqtt: str
    pki: str
    ca: str
    health: Mapping[str, str]

    def write(self, home: Home) -> None:
        """Publish them for commands, mode 600."""
        write_atomic(home.endpoints, json.dumps(asdict(self), indent=2) + "\n")


def lock_path(home: Home) -> Path:
    """Return the file that `up` holds locked while it runs."""
    return home.run / _LOCK


def is_running(home: Home) -> bool:
    """Say whether an `up` process holds this home."""
    try:
        with lock_path(home).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def running_endpoints(home: Home) -> Endpoints:
    """Return where the installation listens. Raises NotRunning, SomebodyElses."""
    if not is_running(home):
        if home.run.exists() and not os.access(home.run, os.R_OK | os.X_OK):
            raise SomebodyElses(
                f"the installation in {home.path} belongs to another user",
                hint="ask as that user, or set IOTISTIC_API_URL and IOTISTIC_API_TOKEN",
            )
        raise NotRunning(f"nothing is running in {home.path}", hint="start it with `iotistic up`")
    try:
        return TypeAdapter(Endpoints).validate_json(home.endpoints.read_bytes())
    except FileNotFoundError as exc:
        raise NotRunning(
            "the installation is starting or stopping", hint="try again in a few seconds", retry_after_s=5
        ) from exc
    except (OSError, ValidationError) as exc:
        raise NotRunning(f"{home.endpoints} cannot be read: {exc}") from exc


def connect(settings: ClientSettings | None = None) -> "Api":
    """Return a client for the API that the settings name."""
    chosen = settings or load_settings(ClientSettings)
    if chosen.iotistic_api_url:
        return Api(chosen.iotistic_api_url, usable_token(chosen.iotistic_api_token))
    endpoints = running_endpoints(chosen.home)
    try:
        token_text = chosen.home.api_token.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise Denied(f"the token in {chosen.home.api_token} cannot be read: {exc.strerror}") from exc
    return Api(endpoints.api, token_text)


def usable_token(token: SecretStr | None) -> str:
    """Return a token that a header can hold. Raises TokenUnusable."""
    text = token.get_secret_value() if token else ""
    if not text or not text.isascii() or not text.isprintable():
        what = "holds what no token has" if text else "is not set"
        raise TokenUnusable(f"IOTISTIC_API_TOKEN {what}", hint=_HINTS[401])
    return text


T = TypeVar("T")


class Api:
    """The telemetry API, with answers checked and failures as kernel errors."""

    def __init__(self, url: str, token: str) -> None:
        # With its version, as agents and the API itself write it.
        self.url = url.rstrip("/").removesuffix("/api/v1")
        self.headers = {"Authorization": f"Bearer {token}"}
        try:
            self._client = httpx2.Client(
                base_url=f"{self.url}/api/v1", headers=self.headers, timeout=_TIMEOUT_S
            )
        except httpx2.InvalidURL as exc:
            raise RequestImpossible(
                f"{url} is no address: {exc}", hint="write it like https://iot.example.com"
            ) from exc

    def get(self, path: str, shape: type[T], **params: object) -> T:
        """GET below /api/v1 and return the answer as `shape`; None parameters are left out."""
        return _checked(self.request("GET", path, params=params), shape)

    def post(self, path: str, shape: type[T], body: object = None) -> T:
        """POST `body` as JSON below /api/v1 and return the answer as `shape`."""
        return _checked(self.request("POST", path, body=body), shape)

    def delete(self, path: str, shape: type[T], **params: object) -> T:
        """DELETE below /api/v1 and return the answer as `shape`."""
        return _checked(self.request("DELETE", path, params=params), shape)

    def request(
        self, method: str, path: str, *, params: Mapping[str, object] | None = None, body: object = None
    ) -> httpx2.Response:
        """Make one request below /api/v1; raise the kernel error that its problem document names."""
        given = {name: _text(value) for name, value in (params or {}).items() if value is not None}
        try:
            response = self._client.request(method, path, params=given, json=body)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as exc:
            raise RequestImpossible(f"this cannot be asked of {self.url}: {exc}") from exc
        except httpx2.TransportError as exc:
            raise Unavailable(
                f"the API at {self.url} does not answer: {exc}", hint="see `iotistic status`"
            ) from exc
        raise_for_problem(response)
        return response


def _text(value: object) -> str | list[str]:
    if isinstance(value, list):
        return [str(item) for item in cast("list[object]", value)]
    return str(value)


def raise_for_problem(response: httpx2.Response) -> None:
    """Raise the error kind that an HTTP answer stands for; the body must have been read."""
    if response.is_success:
        return
    try:
        problem = TypeAdapter(dict[str, object]).validate_json(response.content)
    except ValidationError:
        problem = {}
    kind = _KINDS.get(response.status_code, IotisticError)
    message = problem.get("message") or problem.get("detail") or problem.get("title")
    # What a command can say about a token, namely where it comes from, is more than the API can.
    hint = _HINTS.get(response.status_code) or (str(problem["hint"]) if "hint" in problem else None)
    error = kind(str(message or f"the API answered {response.status_code}"), hint=hint)
    if "code" in problem:
        error.fields["code"] = str(problem["code"])
    raise error


_KINDS: dict[int, type[IotisticError]] = {
    400: Invalid,
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_HINTS = {
    401: "the right one is in secrets/api-token of the installation's home; "
    "check IOTISTIC_HOME, or IOTISTIC_API_URL and IOTISTIC_API_TOKEN",
}


def _checked(response: httpx2.Response, shape: type[T]) -> T:
    try:
        return TypeAdapter(shape).validate_json(response.content)
    except ValidationError as exc:
        raise AnswerNotUnderstood(
            f"the API's answer cannot be read: {exc}", hint="compare the versions"
        ) from exc
