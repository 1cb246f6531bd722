"""The API as a process: telemetry and the control plane, `python -m iotistic api`.

It starts and stays up while the database, the broker or the workers are away: readiness and the answers
say so, and everything goes on by itself when they are back.
"""

import asyncio
import contextlib
import gc
import os
import re
import signal
from collections.abc import AsyncGenerator
from socket import gethostname
from types import MappingProxyType
from urllib.parse import urlencode, urlsplit, urlunsplit

import asyncpg
import structlog
import uvloop
from fastapi import APIRouter, FastAPI
from pydantic import Field, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from iotistic.control.access.model import Permission
from iotistic.control.access.routing import check_routes
from iotistic.control.access.rules import Gate, Needs, install_gate
from iotistic.control.audit.origin import note_origins
from iotistic.control.provisioning.answering import is_of_this_machine
from iotistic.control.states.express import ExpressStates
from iotistic.entrypoints import catalogue
from iotistic.entrypoints.control.bridges import ServicePublisher
from iotistic.entrypoints.control.loops import serving_loops
from iotistic.entrypoints.control.process import run_loops
from iotistic.entrypoints.control.rooms import ControlPlane, Ground
from iotistic.entrypoints.control.routes import body_examples, control_router
from iotistic.entrypoints.control.settings import ControlSettings, made_secrets
from iotistic.entrypoints.edge import VERSION, VERSION_HEADER, EdgeSettings, add_edge
from iotistic.entrypoints.lean import collecting_nothing
from iotistic.entrypoints.sharing import Checks, live_hub
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import (
    DatabaseSettings,
    DatabaseSlow,
    create_pool,
    database_errors,
    open_all,
)
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.auth import BearerAuth
from iotistic.kernel.web.branches import Branch, Words
from iotistic.kernel.web.describing import exemplify
from iotistic.kernel.web.metrics import MetricsAccessSettings
from iotistic.kernel.web.problems import error_response
from iotistic.kernel.web.server import serve
from iotistic.kernel.web.spacing import Spaced
from iotistic.kernel.web.turnstile import Turnstile
from iotistic.telemetry.dead_letters.repository import DeadLetterRepository
from iotistic.telemetry.dead_letters.routes import dead_letter_router
from iotistic.telemetry.dead_letters.service import DeadLetterService, Publisher
from iotistic.telemetry.ledger.looks import Stages
from iotistic.telemetry.ledger.repository import LedgerRepository
from iotistic.telemetry.ledger.routes import ledger_router
from iotistic.telemetry.ledger.service import LedgerService
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.live.routes import live_router
from iotistic.telemetry.query.routes import query_router
from iotistic.telemetry.query.service import QueryService
from iotistic.telemetry.registry.repository import RegistryRepository
from iotistic.telemetry.registry.routes import registry_router
from iotistic.telemetry.registry.service import RegistryService

log = structlog.get_logger()

_ROOT, _RELEASE = "/api", "/v1"
BASE = f"{_ROOT}{_RELEASE}"
PREFIX = f"{BASE}/telemetry"
_LOOPBACK = "127.0.0.1"
_EXPRESS_CONNECTIONS = 2  # one group of polls is under way at a time, and one of reports
_PUBACK_WITHIN_S = 10.0
_LOGINS_APART_S = 0.01
_BODY_LIMIT = 10 * 1024 * 1024
_STREAMED = re.compile(rf"{BASE}/device/[^/]+/logs")
"""Bodies of any size, which are read as they come."""
_DESCRIPTION = """Devices, their readings, what they should run, and who may do what.

People log in at `/api/v1/auth/login`, programs have API keys, devices their own: `Authorization: Bearer <token>`,
devices also `X-Device-API-Key`. `iotistic up` prints the operator's token of a new installation once and keeps it in
the home's `secrets/api-token`. Times are ISO 8601 in UTC; requests may also say `now` or an age such as `-24h`.
Errors are `application/problem+json` with a stable `code`."""


class ApiSettings(
    HomeSettings,
    LogSettings,
    DatabaseSettings,
    MqttSettings,
    RedisSettings,
    MetricsAccessSettings,
    ControlSettings,
    EdgeSettings,
):
    """Settings of the API process."""

    api_host: str = "127.0.0.1"
    """Address to listen on."""
    api_port: int = Field(default=3002, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and writes it to the log."""
    api_token: SecretStr = Field(min_length=16)
    """The operator's bearer token, at least 16 characters; usually given as API_TOKEN_FILE."""
    api_statement_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Seconds after which a query is given up, so that one asker cannot hold a connection for long."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = load_settings(ApiSettings, **made_secrets(load_settings(HomeSettings).home))
    configure_logging(settings, process="api")
    uvloop.run(run(settings))


async def run(settings: ApiSettings) -> None:
    """Serve until a signal to stop. Raises AddressTaken."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with running(settings):
        await stopping.wait()
    log.info("api.stopped")


@contextlib.asynccontextmanager
async def running(settings: ApiSettings) -> AsyncGenerator[int]:
    """Wire the parts, start them, give the port, and stop them in the opposite order."""
    settings.home.create()
    async with contextlib.AsyncExitStack() as stack:
        pool, express_pool = await _open_pools(settings, stack)
        hub, checks = await stack.enter_async_context(live_hub(settings, settings.home.run))
        publisher = BrokerPublisher(settings)
        stack.push_async_callback(_cancel, asyncio.create_task(publisher.run()))
        with collecting_nothing():
            control = ControlPlane.of(_ground(pool, express_pool, settings, publisher))
            stack.callback(control.close)
            app = create_api_app(
                pool,
                hub,
                publisher,
                gate=control.gate(base=BASE),
                checks=checks,
                metrics_access=settings.metrics_access,
            )
            add_control(app, control)
            add_edge(app, settings)
        stopping = asyncio.Event()
        working = asyncio.create_task(run_loops(serving_loops(control), stopping))
        stack.push_async_callback(_finish, working, stopping)
        front = express(app, control)
        server = await serve(app, host=settings.api_host, port=settings.api_port, front=front)
        stack.push_async_callback(server.stop)
        log.info("api.ready", host=settings.api_host, port=server.port)
        if is_of_this_machine(settings.device_mqtt_url) and settings.api_host != _LOOPBACK:
            hint = "set DEVICE_MQTT_URL to the broker as devices reach it"
            log.warning("provisioning.broker_of_this_machine", told=settings.device_mqtt_url, hint=hint)
        for one in {pool, express_pool}:
            stack.push_async_callback(_cancel, asyncio.create_task(open_all(one)))
        # What was made until now stays: the collector looks at it no more, which it did for tens of milliseconds.
        gc.collect()
        gc.freeze()
        yield server.port


def create_api_app(
    pool: asyncpg.Pool,
    hub: LiveHub,
    publisher: Publisher,
    *,
    gate: Gate,
    checks: Checks = MappingProxyType({}),
    metrics_access: BearerAuth | None = None,
) -> FastAPI:
    """Return the app with the routes below PREFIX; whoever calls is looked up through `gate`."""
    app = create_app(
        title="Iotistic",
        version=catalogue.version(),
        description=_DESCRIPTION,
        checks={"database": lambda: _ask(pool), **checks},
        metrics_access=metrics_access,
        body_limit=_BODY_LIMIT,
        streamed_bodies=_STREAMED,
    )
    app.add_exception_handler(asyncpg.QueryCanceledError, _statement_ended)
    install_gate(app, gate)
    app.include_router(_telemetry_routes(pool, hub, publisher), prefix=PREFIX)
    return app


async def _statement_ended(_request: Request, exc: Exception) -> Response:
    log.warning("request.took_too_long", reason=str(exc))
    return error_response(DatabaseSlow(retry_after_s=5))


def add_control(app: FastAPI, control: ControlPlane) -> None:
    """Add every route of the control plane. Raises RouteUndeclared for one that does not say what it needs."""
    app.include_router(control_router(control, base=_ROOT, below=_RELEASE), prefix=_ROOT)
    app.include_router(control.broker.asking_router())
    exemplify(app, body_examples)
    note_origins(app, control.accounts.addresses)
    check_routes(app)


def express(app: FastAPI, control: ControlPlane) -> ExpressStates:
    """Return what stands in front of the app: what devices send all day comes no further, and the rest in turns.

    Logins wait longest for each other; a password takes longer to be hashed than they are apart.
    """
    said = [(VERSION_HEADER, VERSION)]
    spaced = Spaced(Turnstile(app), path=f"{BASE}/auth/login", apart_s=_LOGINS_APART_S)
    return ExpressStates(spaced, together=control.together, base=BASE, said=said)


async def _open_pools(
    settings: ApiSettings, stack: contextlib.AsyncExitStack
) -> tuple[asyncpg.Pool, asyncpg.Pool]:
    """Return the pool of all, and that of devices' polls and reports, which wait for nobody who logs in or searches.

    Together they have as many connections as the settings say; one connection is one pool. Polls and reports leave
    nothing behind in a session, so theirs is lean: for a poll, forgetting costs about as much as asking.
    """
    limited = with_statement_timeout(settings)
    apart = min(_EXPRESS_CONNECTIONS, settings.database_pool_size - 1)
    pools: list[asyncpg.Pool] = []
    for size in (settings.database_pool_size - apart, apart):
        if size:
            pool = await create_pool(
                limited.model_copy(update={"database_pool_size": size}),
                application_name="iotistic-api",
                min_size=0,
                is_kept_open=True,
                is_lean=bool(pools),
            )
            stack.callback(pool.terminate)
            pools.append(pool)
    return pools[0], pools[-1]


def _ground(
    pool: asyncpg.Pool, express_pool: asyncpg.Pool, settings: ApiSettings, publisher: "BrokerPublisher"
) -> Ground:
    return Ground(
        pool=pool,
        express_pool=express_pool,
        home=settings.home,
        settings=settings,
        publisher=ServicePublisher(publisher.client),
        operator=settings.api_token,
    )


def _telemetry_routes(pool: asyncpg.Pool, hub: LiveHub, publisher: Publisher) -> APIRouter:
    query = QueryService(pool, hub)
    reading, deleting = Needs(Permission.DATA_READ), Needs(Permission.DATA_DELETE)
    letters = DeadLetterService(DeadLetterRepository(pool), publisher)
    ledger = LedgerService(LedgerRepository(pool), Stages(pool), query.devices)
    registry = RegistryService(RegistryRepository(pool), query.devices)
    return Branch(
        Words(PREFIX),
        query_router(query, reading),
        live_router(hub, query.names, reading),
        dead_letter_router(letters, reading, deleting),
        ledger_router(ledger, reading),
        registry_router(registry, reading, Needs(Permission.DEVICE_WRITE)),
    )


def with_statement_timeout(settings: ApiSettings) -> ApiSettings:
    """Return the settings with an address that makes the server itself end statements that take too long.

    The driver takes unknown parameters of an address as session settings, which also survive its resets.
    """
    parts = urlsplit(settings.dsn.url)
    limit = urlencode({"statement_timeout": int(settings.api_statement_timeout_s * 1000)})
    query = f"{parts.query}&{limit}" if parts.query else limit
    address = {
        "database_url": urlunsplit(parts._replace(query=query)),
        "database_password": settings.dsn.password,
    }
    return settings.model_copy(update=address)


class BrokerPublisher:
    """Publishes as this service; connects when the broker is there, and again when it comes back."""

    def __init__(self, settings: MqttSettings) -> None:
        self.client = MqttClient(settings, client_id=f"iotistic-api-{gethostname()}-{os.getpid()}")

    async def run(self) -> None:
        """Keep connected until cancelled."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first.add_done_callback(_tell_refusal)
        await self.client.run(first)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Return after the PUBACK. Raises PublishDenied and BrokerUnavailable."""
        await self.client.publish(topic, payload, within_s=_PUBACK_WITHIN_S)


def _tell_refusal(first: asyncio.Future[None]) -> None:
    if not first.cancelled() and (refusal := first.exception()) is not None:
        log.error("broker.refused_service", reason=str(refusal))


async def _ask(pool: asyncpg.Pool) -> None:
    with database_errors():
        await pool.fetchval("SELECT 1")


async def _finish(working: asyncio.Task[None], stopping: asyncio.Event) -> None:
    stopping.set()
    await asyncio.gather(working, return_exceptions=True)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
