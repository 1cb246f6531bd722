"""The device API as one aiohttp application: its routes, and the door that every request goes through."""

import contextlib
from collections.abc import Callable, Iterable

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from iotistic.agent.local_api.access import Asking, Policy, key_in, plain_address
from iotistic.agent.local_api.attempts import WrongKeys
from iotistic.agent.local_api.bodies import MOST_BYTES
from iotistic.agent.local_api.key import LocalKey
from iotistic.agent.local_api.ports import Parts
from iotistic.agent.local_api.problems import Unauthenticated, from_http, problem
from iotistic.agent.local_api.routes.anomalies import AnomalyRoutes
from iotistic.agent.local_api.routes.apps import AppRoutes
from iotistic.agent.local_api.routes.config import ConfigRoutes
from iotistic.agent.local_api.routes.device import DeviceRoutes
from iotistic.agent.local_api.routes.looking import LookingRoutes
from iotistic.agent.local_api.routes.provisioning import ProvisioningRoutes
from iotistic.agent.local_api.routes.simulation import SimulationRoutes
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

WITHOUT_KEY = ("/ping",)
"""Paths that are answered to everybody who may connect: they tell nothing."""
_READING = ("GET", "HEAD")
_ERROR = 400


class Door:
    """Asks each request who it is from, and turns what goes wrong behind it into problem documents."""

    def __init__(self, policy: Policy, key: LocalKey, wrong_keys: WrongKeys) -> None:
        self._policy, self._key, self._wrong_keys = policy, key, wrong_keys

    def middleware(self) -> Middleware:
        """Return what aiohttp calls for each request."""

        @web.middleware
        async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await self._through(request, handler)
            if request.method not in _READING:
                log.info(
                    "device_api.called", method=request.method, path=request.path, status=response.status
                )
            return response

        return through

    async def _through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._let_in(request)
        except IotisticError as exc:
            refusal = problem(exc)
            refusal.force_close()  # places are few, and not for strangers to keep
            return refusal
        try:
            return await handler(request)
        except IotisticError as exc:
            return problem(exc)
        except web.HTTPException as exc:
            if exc.status < _ERROR:
                raise
            return problem(from_http(exc, request.path))
        except ConnectionError:
            raise  # whoever asked has gone
        except Exception:
            log.exception("device_api.failed", method=request.method, path=request.path)
            return problem(IotisticError("something went wrong in the agent", hint="see its log"))

    def _let_in(self, request: web.Request) -> None:
        asking = Asking(_peer(request), request.headers)
        self._policy.check_sender(asking)
        given = key_in(request.headers)
        if given is not None and self._policy.needs_key:
            # Elsewhere a right key opens nothing more, and wrong ones are not to lock anybody out.
            self._wrong_keys.check(asking.peer)
        if request.path in WITHOUT_KEY and given is None:
            return
        try:
            self._policy.check_key(asking, self._key.text)
        except Unauthenticated:
            if given is not None:
                self._wrong_keys.wrong(asking.peer)
                log.warning("device_api.key_refused", peer=asking.peer)
            raise


def make_app(
    parts: Parts,
    key: LocalKey,
    policy: Policy,
    heard: Callable[[web.Request], None] = lambda _request: None,
) -> web.Application:
    """Return the application; `heard` is called for each request that came whole."""
    door = Door(policy, key, WrongKeys(parts.clock)).middleware()

    @web.middleware
    async def hear(request: web.Request, handler: Handler) -> web.StreamResponse:
        heard(request)
        return await handler(request)

    app = web.Application(middlewares=[hear, door], client_max_size=MOST_BYTES)
    app.add_routes(_routes(parts, key))
    app.on_response_prepare.append(_sign)
    return app


def _routes(parts: Parts, key: LocalKey) -> Iterable[web.RouteDef]:
    yield from DeviceRoutes(parts).routes()
    yield from AppRoutes(parts).routes()
    yield from ProvisioningRoutes(parts, key).routes()
    yield from ConfigRoutes(parts).routes()
    yield from SimulationRoutes(parts).routes()
    yield from AnomalyRoutes(parts).routes()
    yield from LookingRoutes(parts).routes()


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    """Name the product, not the library and its version; nothing of a device is for a cache to keep."""
    response.headers["Server"] = "iotistic"
    response.headers.setdefault("Cache-Control", "no-store")


def _peer(request: web.Request) -> str:
    """Return the address of the connection; what a header claims is not believed."""
    peer = ""
    with contextlib.suppress(TypeError, IndexError, AttributeError):
        peer = plain_address(str(request.transport.get_extra_info("peername")[0]))  # type: ignore[union-attr]
    return peer
