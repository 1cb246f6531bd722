"""The app factory: problem answers, health, metrics and the API's description in every HTTP process."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Any, TypeVar

from fastapi import Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from iotistic.kernel.errors import NotFound
from iotistic.kernel.web.auth import BearerAuth, LocalOnly, Public
from iotistic.kernel.web.describing import (
    operation_id,
    with_described_answers,
    with_path_parameters,
    with_plain_names,
)
from iotistic.kernel.web.health import Check, Readiness, health_router
from iotistic.kernel.web.middleware import RequestMiddleware
from iotistic.kernel.web.problems import PROBLEM_RESPONSES, describe_problems, install_problem_handlers

T = TypeVar("T")

_MIB = 1024 * 1024
_DOCS_PACKAGE = "fastapi_swagger.resources"
_DOCS_PARTS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def create_app(
    *,
    title: str,
    version: str,
    description: str,
    checks: Mapping[str, Check] | Readiness | None = None,
    metrics_access: BearerAuth | LocalOnly | None = None,
    registry: CollectorRegistry = REGISTRY,
    body_limit: int = _MIB,
    streamed_bodies: re.Pattern[str] | None = None,
) -> FastAPI:
    """Return an app with `/health/live`, `/health/ready`, `/metrics`, `/openapi.json` and `/docs`.

    `checks` decide readiness. `metrics_access` says who reads the metrics; without it only callers on
    this machine do. `body_limit` is in bytes; paths that `streamed_bodies` matches wholly have none, since
    their routes read bodies piece by piece and set limits of their own. Routes that state no AccessRule fail a test.
    """
    app = FastAPI(
        title=title,
        version=version,
        description=description,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        responses=PROBLEM_RESPONSES,
        generate_unique_id_function=operation_id,
    )
    app.state.stopping = asyncio.Event()
    install_problem_handlers(app)
    app.add_middleware(
        RequestMiddleware, routes_of=app, body_limit=body_limit, streamed_bodies=streamed_bodies
    )
    app.include_router(health_router(checks if isinstance(checks, Readiness) else Readiness(checks)))
    _add_metrics(app, metrics_access or LocalOnly(), registry)
    _add_description(app)
    return app


def _add_metrics(app: FastAPI, access: BearerAuth | LocalOnly, registry: CollectorRegistry) -> None:
    @app.get("/metrics", dependencies=[Depends(access)], tags=["health"], response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    _ = metrics


def _add_description(app: FastAPI) -> None:
    described = app.openapi
    app.openapi = lambda: with_plain_names(
        with_described_answers(with_path_parameters(describe_problems(described())))
    )
    open_to_all = [Depends(Public("the description holds no data"))]

    @app.get("/openapi.json", dependencies=open_to_all, include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    @app.get("/docs", dependencies=open_to_all, include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon-32x32.png",
        )

    @app.get("/docs/{name}", dependencies=open_to_all, include_in_schema=False)
    async def docs_part(name: str) -> Response:
        if name not in _DOCS_PARTS:
            raise NotFound
        content = (files(_DOCS_PACKAGE) / name).read_bytes()
        return Response(
            content, media_type=_DOCS_PARTS[name], headers={"Cache-Control": "public, max-age=86400"}
        )

    _ = openapi, docs, docs_part


async def until_stopping(request: Request, source: AsyncIterator[T]) -> AsyncIterator[T]:
    """Yield from `source` until it ends or the server begins to stop: event streams are wrapped in it.

    A stream that does not know about stopping would hold the shutdown for its whole grace period.
    """
    stopping = asyncio.ensure_future(request.app.state.stopping.wait())
    following: asyncio.Future[T] | None = None
    try:
        while not stopping.done():
            following = asyncio.ensure_future(anext(source))
            await asyncio.wait((stopping, following), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        for waiting in (stopping, following):
            if waiting is not None:
                waiting.cancel()
