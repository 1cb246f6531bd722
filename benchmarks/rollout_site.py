"""The processes of the rollout benchmark: PostgreSQL, Mosquitto, one API, one process of agents.

Each can be killed and comes back. Every wait ends, and says what it waited for.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

import iotistic
from benchmarks.rollout_api import BASE
from benchmarks.rollout_broker import SiteBroker
from benchmarks.rollout_counts import newest, totals
from benchmarks.rollout_fleet import COUNTS, LATENESS
from benchmarks.rollout_health import FIGURES
from iotistic.kernel.home import Home
from iotistic.kernel.migrations import runner
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import open_connection
from iotistic.kernel.postgres.server import PostgresServer
from iotistic.kernel.process import die_with_parent, pick_port

SERVICES = ("web", "worker", "db")
_WITHIN_S = 900.0
_STARTS_WITHIN_S = 60.0
_SAYS_EVERY_S = 15.0
_OVER = ("completed", "rolled_back", "cancelled", "halted")
_API_COUNTS = "api-counts"
_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"


@dataclass
class Site:
    """What runs."""

    folder: Path
    count: int
    poll_s: float
    call_s: float
    linked: int
    """One in so many agents is connected to the broker."""
    say: Callable[[str], None]
    server: PostgresServer
    dsn: Dsn
    broker: SiteBroker
    port: int = field(default_factory=lambda: pick_port(0))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    key: str = ""
    api: subprocess.Popen[str] | None = None
    fleet: subprocess.Popen[str] | None = None
    client: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        self.client = httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self.port}{BASE}"

    @property
    def links(self) -> int:
        """How many agents are to be connected to the broker."""
        return -(-self.count // self.linked)

    @property
    def online(self) -> int:
        """How many are."""
        return newest(self.folder / COUNTS).get("online", 0)

    @property
    def niceness(self) -> int:
        """How long the agents' process waits for the processor, beside others; 0 is usual, less is sooner."""
        return os.getpriority(os.PRIO_PROCESS, self.fleet.pid) if self.fleet is not None else 0

    def is_linked(self, part: Mapping[str, Any]) -> bool:
        """Say whether the device of a part is connected to the broker."""
        return int(part["deviceName"].rsplit("-")[-1]) % self.linked == 0

    def counted(self) -> Counter[str]:
        """Return what was announced, heard and taken, and the reports that came over MQTT and were stored."""
        return totals(self.folder / COUNTS) + totals(self.folder / _API_COUNTS)

    async def start_api(self) -> None:
        """Start the API, at the same port each time."""
        password = self.dsn.password.get_secret_value() if self.dsn.password else ""
        environment = {
            "DATABASE_URL": self.server.near.url,
            "DATABASE_PASSWORD": password,
            "DATABASE_POOL_SIZE": "20",
            "API_PORT": str(self.port),
            "OPERATOR_TOKEN": self.token,
            "PROVISIONING_KEY": self.key,
            "ROLLOUT_LOOK_S": "1",
            "FIGURES_FILE": str(self.folder / FIGURES),
            "COUNTS_FILE": str(self.folder / _API_COUNTS),
            "LOG_LEVEL": "error",
            **self.broker.environment,
        }
        self.api = _spawn(["-m", "benchmarks.rollout_api"], environment, self.folder / "api.log")
        async with asyncio.timeout(_STARTS_WITHIN_S):
            said = await asyncio.to_thread(self.api.stdout.readline)  # type: ignore[union-attr]
        if not said:
            raise RuntimeError(f"the API did not start: {(self.folder / 'api.log').read_text()[-2000:]}")
        self.key = json.loads(said)["key"]

    def start_fleet(self) -> None:
        """Start the agents: the same devices each time."""
        words = [
            "-m",
            "benchmarks.rollout_fleet",
            self.url,
            self.count,
            self.folder / "agents",
            self.poll_s,
            self.call_s,
            self.linked,
        ]
        environment = {"PROVISIONING_KEY": self.key}
        self.fleet = _spawn(list(map(str, words)), environment, self.folder / "fleet.log")

    async def kill_api(self) -> None:
        """End it by SIGKILL, and start it again."""
        _end(self.api)
        await self.start_api()

    async def kill_fleet(self) -> None:
        """End all agents by SIGKILL, and start them again: what ran on them is gone."""
        _end(self.fleet)
        self.start_fleet()

    async def kill_database(self) -> None:
        """End the postmaster by SIGKILL, and start it again."""
        if self.server.pid is not None:
            os.kill(self.server.pid, signal.SIGKILL)
        async with asyncio.timeout(_STARTS_WITHIN_S):
            while self.server.pid is not None:  # noqa: ASYNC110  the kernel ends it within milliseconds
                await asyncio.sleep(0.05)
            self.dsn = await self.server.start()

    async def kill_broker(self) -> None:
        """End Mosquitto by SIGKILL, and start it again."""
        await self.broker.kill()

    async def ask(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """Return the answer; an API that is away is asked again."""
        ends_at, last = time.monotonic() + _WITHIN_S, "nothing"
        while True:
            try:
                answer = await self.client.request(method, path, json=body, params=_query(query))
                if answer.status_code < 400:
                    return answer.json()
                if answer.status_code < 500:
                    raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
                last = f"{answer.status_code} {answer.text[:500]}"
            except httpx2.TransportError as exc:
                last = f"{type(exc).__name__} {exc}"
                if method != "GET":
                    raise
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{method} {path} was not answered within {_WITHIN_S:.0f} s: {last}")
            await asyncio.sleep(0.2)

    async def make(
        self, name: str, change: Mapping[str, Any], selection: Mapping[str, Any], **policy: object
    ) -> str:
        """Make a rollout; return its id."""
        body = {"name": name, "change": change, "selection": selection, "policy": policy}
        return (await self.ask("POST", "/rollouts", body))["id"]

    async def until_over(self, rollout: str, within_s: float = _WITHIN_S) -> Any:
        """Return a rollout once nothing happens to it any more by itself."""
        ends_at, says_at = time.monotonic() + within_s, time.monotonic() + _SAYS_EVERY_S
        while True:
            found = await self.ask("GET", f"/rollouts/{rollout}")
            if found["state"] in _OVER:
                return found
            now = time.monotonic()
            counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items() if count)
            if now > ends_at:
                raise TimeoutError(f"{found['name']} is {found['state']} after {within_s:.0f} s: {counts}")
            if now > says_at:
                says_at = now + _SAYS_EVERY_S
                self.say(f"{found['name']}: {found['state']}, {counts}; {self.online} of {self.links} links")
            await asyncio.sleep(0.5)

    async def parts(self, rollout: str) -> list[Any]:
        """Return all of its parts."""
        found: list[Any] = []
        cursor = None
        while True:
            page = await self.ask("GET", f"/rollouts/{rollout}/parts", limit=500, cursor=cursor)
            found += page["items"]
            if (cursor := page["nextCursor"]) is None:
                return found

    def lateness(self, since: float) -> list[float]:
        """Return by how many seconds the agents' process was late, each time it looked since a moment."""
        told = (line.split() for line in (self.folder / LATENESS).read_text().splitlines())
        return [
            float(late) for at, late in (words for words in told if len(words) == 2) if float(at) >= since
        ]

    def figures(self, image: str) -> None:
        """Let the health figures of a share of the devices with this image be bad from now on; empty for none."""
        (self.folder / FIGURES).write_text(image)

    async def fetch(self, query: str) -> list[Any]:
        """Return rows."""
        connection = await open_connection(self.dsn, application_name="bench")
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    async def until(self, what: str, query: str, count: int, within_s: float = _WITHIN_S) -> None:
        """Return once a query gives this number; raise when the agents have ended."""

        async def number() -> int:
            if self.fleet is not None and self.fleet.poll() is not None:
                raise RuntimeError(f"the agents ended: {(self.folder / 'fleet.log').read_text()[-2000:]}")
            return (await self.fetch(query))[0][0]

        await self._until(what, number, count, within_s)

    async def until_linked(self, within_s: float = 120.0) -> None:
        """Return once all agents that are to be connected to the broker are."""

        async def number() -> int:
            return self.online

        await self._until("agents connected to the broker", number, self.links, within_s)

    async def _until(
        self, what: str, number: Callable[[], Awaitable[int]], count: int, within_s: float
    ) -> None:
        ends_at, says_at = time.monotonic() + within_s, time.monotonic() + _SAYS_EVERY_S
        while (found := await number()) < count:
            now = time.monotonic()
            if now > ends_at:
                raise TimeoutError(f"{what}: {found:,} of {count:,} after {within_s:.0f} s")
            if now > says_at:
                says_at = now + _SAYS_EVERY_S
                self.say(f"{what}: {found:,} of {count:,}")
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def running_site(
    folder: Path, *, count: int, poll_s: float, call_s: float, linked: int, say: Callable[[str], None]
) -> AsyncGenerator[Site]:
    """Start everything, and end it."""
    server, broker = PostgresServer(Home(folder / "home")), SiteBroker(folder / "broker")
    dsn = await server.start()
    connection: asyncpg.Connection = await open_connection(dsn, application_name="bench")
    await runner.migrate(connection, _MIGRATIONS)
    await connection.close()
    site = Site(folder, count, poll_s, call_s, linked, say, server, dsn, broker)
    try:
        await broker.start()
        await site.start_api()
        site.start_fleet()
        yield site
    finally:
        _end(site.fleet)
        _end(site.api)
        await site.client.aclose()
        await broker.server.stop()
        await server.stop()


def _spawn(words: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
    given = {name: value for name, value in environment.items() if value}
    with log.open("a") as errors:
        return subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **given},
            text=True,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  the child only sets signals before it starts anew
        )


def _end(child: subprocess.Popen[str] | None) -> None:
    if child is not None:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def _query(given: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def shop(web: str = "web:1") -> dict[str, Any]:
    """Return the target of a device: three services, a network, a volume."""
    configs = {
        "web": {"image": web, "ports": ["80:80"], "networks": ["back"]},
        "worker": {"image": "worker:1", "networks": ["back"]},
        "db": {"image": "db:1", "volumes": ["data:/var"]},
    }
    services = [
        {"serviceId": number, "serviceName": name, "config": configs[name]}
        for number, name in enumerate(SERVICES, start=1)
    ]
    return {"apps": {"7": {"appId": 7, "appName": "shop", "services": services}}}
