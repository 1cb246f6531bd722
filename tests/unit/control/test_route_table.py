"""Every route says what it needs."""

from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.routing import RouteUndeclared, check_routes, route_table
from iotistic.control.access.rules import device_credential, public, requires, signed_in
from iotistic.kernel.web.app import create_app


def declared() -> FastAPI:
    app = FastAPI(openapi_url=None)
    inner = APIRouter(dependencies=[signed_in()])

    @app.get("/open", dependencies=[public("it holds nothing")])
    async def is_open(): ...

    @app.put("/devices")
    async def devices(caller: Annotated[Caller, requires(Permission.DEVICE_WRITE)]): ...

    @app.get("/device/{uuid}", dependencies=[device_credential(path="uuid")])
    async def device(uuid: str): ...

    @inner.delete("/deep", dependencies=[signed_in(Permission.DATA_DELETE)])
    async def deep(): ...

    app.include_router(inner, prefix="/inner")
    return app


def test_the_table_says_what_each_route_needs():
    assert {str(need): need.rules for need in route_table(declared())} == {
        "GET /open": ("public: it holds nothing",),
        "PUT /devices": ("device:write",),
        "GET /device/{uuid}": ("the credential of device {uuid}",),
        "DELETE /inner/deep": ("a person", "data:delete, a person"),
    }


def test_a_route_that_states_nothing_fails_the_check():
    app = declared()

    @app.post("/forgotten")
    async def forgotten(): ...

    with pytest.raises(RouteUndeclared, match="POST /forgotten"):
        check_routes(app)


def test_the_routes_of_every_app_are_declared():
    app = create_app(title="t", version="0", description="d")

    assert {need.path for need in check_routes(app)} >= {"/health/live", "/metrics", "/openapi.json"}


def test_one_declaration_is_looked_up_once_in_a_request():
    assert requires(Permission.DATA_READ).dependency is requires(Permission.DATA_READ).dependency
