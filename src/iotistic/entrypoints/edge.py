"""The edge of the API: packed answers, browsers of other origins, and the version in every answer."""

from fastapi import FastAPI
from pydantic import field_validator
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iotistic.kernel.settings import Settings
from iotistic.kernel.web.describing import deprecation_headers

VERSION_HEADER = "X-API-Version"
VERSION = "v1"
_PACKED_FROM = 1024  # bytes
_LEVEL = 5
_SHOWN = [VERSION_HEADER, "X-Request-ID", "Retry-After", "ETag", "Deprecation", "Sunset"]


class EdgeSettings(Settings):
    """Who may call the API from a browser."""

    cors_origins: str = ""
    """Origins of web pages that may call the API, with commas between: https://dash.example.com. Empty: pages of its
    own origin only. `*` is refused: it would let any page act with what a browser holds."""

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:  # noqa: PLR2004
                raise ValueError(f"{origin!r} is no origin; write https://host, with a port if it has one")
        return value


class VersionMiddleware:
    """Says in each answer which version of the API gave it, and of a route that will end, when."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault(VERSION_HEADER, VERSION)
                headers.update(deprecation_headers(scope))
            await send(message)

        await self._app(scope, receive, versioned if scope["type"] == "http" else send)


def add_edge(app: FastAPI, settings: EdgeSettings) -> None:
    """Put the edge around an app; streams of events are not packed."""
    app.add_middleware(GZipMiddleware, minimum_size=_PACKED_FROM, compresslevel=_LEVEL)
    app.add_middleware(VersionMiddleware)
    if origins := _listed(settings.cors_origins):
        # Tokens travel in a header that pages set themselves, so no cookie is ever allowed along.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "Last-Event-ID"],
            expose_headers=_SHOWN,
            max_age=600,
        )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
