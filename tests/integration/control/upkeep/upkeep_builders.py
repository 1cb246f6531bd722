"""A list of background work on a real PostgreSQL, with a clock that is moved by hand."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx2

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ROLE_PERMISSIONS, ApiKeyPrincipal, Role
from iotistic.control.access.routing import check_routes
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.audit.port import NO_TRAIL
from iotistic.control.upkeep.keeper import UpkeepKeeper
from iotistic.control.upkeep.model import Task
from iotistic.control.upkeep.routes import upkeep_router
from iotistic.control.upkeep.service import UpkeepService
from iotistic.control.upkeep.settings import UpkeepSettings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.server import serve

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Roles:
    """People: whose token is the name of a role has that role."""

    async def find(self, token):
        if token not in [role.value for role in Role]:
            return None
        return ApiKeyPrincipal(key_id=token, user_id=UUID(int=1), permissions=ROLE_PERMISSIONS[Role(token)])


class Work:
    """Counts how often it was done; raises, or stays, when it is told to."""

    def __init__(self, output=None):
        self.output, self.done, self.given_up = output or {}, 0, 0
        self.error = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.began = asyncio.Event()

    async def __call__(self):
        self.done += 1
        self.began.set()
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.error is not None:
            raise self.error
        return self.output


class Upkeep:
    """One process's view: a task `sweep` each hour, unless others are given."""

    def __init__(self, pool, *, now=NOON, trail=NO_TRAIL, watched=(), **settings):
        self.pool, self.now, self.work = pool, now, Work({"swept": 3})
        self.settings = UpkeepSettings(**({"upkeep_round_s": 0.02} | settings))
        self.service = UpkeepService(pool, watched, trail=trail, clock=self.clock)

    def clock(self):
        return self.now

    def task(self, **changes):
        values = {
            "name": "sweep",
            "summary": "Sweep.",
            "schedule": "0 * * * *",
            "work": self.work,
            "deadline_s": 60,
        }
        return Task(**(values | changes))

    def keeper(self, *tasks, clock=None, **settings):
        settings = self.settings.model_copy(update=settings)
        return UpkeepKeeper(self.pool, tasks or [self.task()], settings, clock=clock or self.clock)

    async def at(self, keeper, **by):
        """Move the clock, have the keeper look, and wait for what it took up."""
        self.now += timedelta(**by)
        await keeper.look()
        await keeper.settled()

    async def runs(self, name="sweep"):
        return await self.service.runs(name)

    async def standing(self, name="sweep"):
        return (await self.service.task(name)).standing


@contextlib.asynccontextmanager
async def running(keeper):
    """Let a keeper run by itself."""
    task = asyncio.create_task(keeper.run())
    try:
        yield task
    finally:
        keeper.stop()
        await task


@contextlib.asynccontextmanager
async def served(upkeep):
    """Serve the routes; a role's name is its token."""
    app = create_app(title="test", version="1", description="test")
    app.include_router(upkeep_router(upkeep.service), prefix="/api/v1")
    addresses = ClientAddresses()
    gate = Gate(callers=Roles(), devices=None, addresses=addresses, attempts=FailedAttempts())
    install_gate(app, gate)
    check_routes(app)
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(
            verify=False, base_url=f"http://127.0.0.1:{server.port}/api/v1", timeout=30
        ) as client,
    ):
        yield client


async def until(condition, *, within_s=20):
    """Poll until a coroutine function's answer is true."""
    async with asyncio.timeout(within_s):
        while not (found := await condition()):  # noqa: ASYNC110  another process makes it true
            await asyncio.sleep(0.02)
    return found
