"""Every error leaves as `application/problem+json` (RFC 9457), by one table from kind to status.

A body has `type`, `title`, `status`, `code`, `detail`, and where they help `hint`, `fields` and
`request_id`. `code` is the stable part; `type` is the same code as a URI. `error` and `message` repeat
`code` and `detail` for clients of the earlier system, and a refusal of the plan says `upgradeUrl`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from iotistic.kernel.errors import Conflict, Denied, Invalid, IotisticError, NotFound, Unavailable

MEDIA_TYPE = "application/problem+json"
_SHOWN_PATH = 80  # characters
_SHOWN_PARTS = 4


class Unauthenticated(Denied):
    """A credential is needed, and none that is valid was given."""

    code = "auth.credential_required"


class RateLimited(Unavailable):
    """There were too many requests; wait before the next."""

    code = "rate_limited"


class PlanRefused(Denied):
    """The plan does not allow this."""

    code = "plan.refused"


STATUS: Mapping[type[IotisticError], HTTPStatus] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    PlanRefused: HTTPStatus.PAYMENT_REQUIRED,
    Invalid: HTTPStatus.BAD_REQUEST,
    Denied: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    IotisticError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""From kind of error to HTTP status; the nearest ancestor of an error's class decides."""


class Problem(BaseModel):
    """An error answer (RFC 9457)."""

    type: str = Field(examples=["urn:iotistic:problem:mac.invalid"])
    title: str = Field(examples=["Bad Request"])
    status: int = Field(examples=[400])
    code: str = Field(examples=["mac.invalid"], description="Stable reason code; programs may rely on it.")
    detail: str
    error: str = Field(examples=["mac.invalid"], description="The same as `code`, for older clients.")
    message: str = Field(description="The same as `detail`, for older clients.")
    hint: str | None = Field(default=None, description="What to do next.")
    fields: dict[str, Any] | None = Field(default=None, description="What the error is about.")
    request_id: str | None = Field(default=None, description="Names this request in the server's log.")
    upgradeUrl: str | None = Field(default=None, description="Where a larger plan can be had.")  # noqa: N815


def status_of(error: IotisticError) -> HTTPStatus:
    """Return the status that `error` is answered with."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_response(
    status: int,
    *,
    code: str,
    detail: str,
    hint: str | None = None,
    fields: Mapping[str, object] | None = None,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the problem+json answer."""
    problem = Problem(
        type=f"urn:iotistic:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        error=code,
        message=detail,
        hint=hint,
        fields=dict(fields) if fields else None,
        request_id=request_id,
        upgradeUrl=_text(fields, "upgradeUrl"),
    )
    content = jsonable_encoder(problem, exclude_none=True, custom_encoder={bytes: repr})
    return JSONResponse(content, status, headers=headers, media_type=MEDIA_TYPE)


def _text(fields: Mapping[str, object] | None, name: str) -> str | None:
    value = (fields or {}).get(name)
    return value if isinstance(value, str) else None


def error_response(error: IotisticError) -> Response:
    """Return the answer to a kernel error, with the headers its kind calls for."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="iotistic"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return problem_response(
        status_of(error),
        code=error.code,
        detail=error.message,
        hint=error.hint,
        fields=error.fields,
        headers=headers,
    )


async def _kernel_error(_request: Request, exc: Exception) -> Response:
    return error_response(cast("IotisticError", exc))


async def _http_error(request: Request, exc: Exception) -> Response:
    error = cast("HTTPException", exc)
    status = HTTPStatus(error.status_code)
    code = f"http.{status.name.lower()}"
    detail, hint = str(error.detail), None
    if status is HTTPStatus.NOT_FOUND and detail == status.phrase:
        detail = f"There is nothing at {_family(request.url.path)}."
        hint = "the routes are listed at /docs and in /openapi.json of the same address"
    return problem_response(status, code=code, detail=detail, hint=hint, headers=error.headers)


def _family(path: str) -> str:
    """Return the start of `path`, which says where its sender believed to be; the rest may be long or secret."""
    parts = path[:_SHOWN_PATH].split("/")
    return "/".join(parts[: _SHOWN_PARTS + 1]) + ("/…" if len(parts) > _SHOWN_PARTS + 1 else "")


async def _validation_error(request: Request, exc: Exception) -> Response:
    faults = _faults(cast("RequestValidationError", exc).errors(), _query_names(request))
    return problem_response(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        code="request.invalid",
        detail="; ".join(f"{name}: {reason}" for name, reason in faults.items()),
        fields=faults,
    )


def _faults(errors: Sequence[Any], query_names: Sequence[str]) -> dict[str, str]:
    """Return the reason by field; the value given is not repeated, it may be a secret."""
    unknown = f"there is no such parameter; known are {', '.join(query_names)}"
    return {
        ".".join(str(part) for part in error["loc"]): unknown
        if query_names and error["type"] == "extra_forbidden" and error["loc"][0] == "query"
        else str(error["msg"])
        for error in errors
    }


def _query_names(request: Request) -> list[str]:
    """Return the query parameters that the route of `request` knows."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return []
    names: list[str] = []
    for field in route.dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [one.alias or name for name, one in model.model_fields.items()]
        else:
            names.append(field.alias)
    return names


def install_problem_handlers(app: FastAPI) -> None:
    """Answer kernel, HTTP and validation errors of `app` as problems; unexpected ones meet the middleware."""
    app.add_exception_handler(IotisticError, _kernel_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


def describe_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Add what PROBLEM_RESPONSES refer to, to an OpenAPI document."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(mode="serialization")
    return document


# By reference, not by model: of that the framework makes a field for each of them at each route, which took most of
# the time that an app with some hundred routes needed to start.
_DESCRIBED = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status.value: {"description": status.phrase, "content": _DESCRIBED}
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}
"""The answers that every route may give, for the OpenAPI description."""
