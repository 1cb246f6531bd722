"""What each level of the look-up saves: the worker's own arrays, the shared Redis, PostgreSQL.

A cold start: 1,000 controllers with ten series each, all registered, in one batch that the process has
never seen. Redis is Debian's, a child of this benchmark, with the product's default time-out.
"""

import asyncio
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from benchmarks.framework import Report, at_most
from benchmarks.installation import Installation, installation
from benchmarks.usage import Meter
from iotistic.contracts.modbus import build_frame, format_frame
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.process import die_with_parent, pick_port
from iotistic.kernel.redis.cache import RedisCache
from iotistic.kernel.redis.link import RedisLink
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Messages
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.generation import Generation
from iotistic.telemetry.resolve.model import UnknownPolicy
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.resolve.shared import SharedDirectory

_CONTROLLERS = 1_000
_STATES = ("access-control-mode/J1/strike-1", "access-control-mode/J1/strike-2", "alarm-mode/J2/siren-1")
_MOTION = tuple(f"alarm-mode/J2/motion-sensor-{number}" for number in (1, 2, 3))
_SENSORS = tuple(f"sensor-mode/J3/sensor-{number}" for number in (1, 2, 3, 4))
_STATE = b'{"status": true}'
_SENSOR = b'{"data": "%b"}' % format_frame(build_frame(bytes(12))).encode()


def run(quick: bool, report: Report) -> None:
    with installation(workers=0) as site, tempfile.TemporaryDirectory(prefix="iotistic-bench-") as folder:
        site.run(LookupBench(site, report, rounds=3 if quick else 7).compare(Path(folder)))


class LookupBench:
    """The same batch resolved by resolvers that know nothing yet, over each level."""

    def __init__(self, site: Installation, report: Report, *, rounds: int) -> None:
        self._site, self._report, self._rounds = site, report, rounds
        self._batch = _messages()
        self._decoder = Decoder()

    async def compare(self, folder: Path) -> None:
        """Measure every level in turn, round after round; the figures are medians."""
        settings = DatabaseSettings(
            database_url=self._site.dsn.url,
            database_password=self._site.dsn.password,
            database_command_timeout_s=600,
        )
        pool = await create_pool(settings, application_name="bench-lookup", min_size=2)
        postgres = PostgresDirectory(pool, UnknownPolicy.ADOPT)
        await self._resolve(Resolver(postgres))  # adopts everything
        async with _redis(folder) as (server, link):
            await self._measure(pool, postgres, server, link)
        pool.terminate()

    async def _measure(
        self,
        pool: asyncpg.Pool,
        postgres: PostgresDirectory,
        server: "subprocess.Popen[bytes]",
        link: RedisLink,
    ) -> None:
        shared = SharedDirectory(postgres, RedisCache(link), Generation(pool))
        await self._resolve(Resolver(shared))
        await shared.stored()
        known = Resolver(postgres)
        await self._resolve(known)
        times: dict[str, list[float]] = {"array": [], "redis": [], "postgres": []}
        cpu_s = {"redis": 0.0, "postgres": 0.0}
        for number in range(self._rounds):
            times["array"].append(await self._resolve(known))
            for level, directory in (("redis", shared), ("postgres", postgres)):
                with Meter({"postgres": self._site.pids["postgres"]}) as meter:
                    times[level].append(await self._resolve(Resolver(directory)))
                cpu_s[level] += meter.used_s["postgres"]
            self._report.progress(
                f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.1f} ms" for k, v in times.items())
            )
        middle = {level: statistics.median(found) for level, found in times.items()}
        self._report.add("10,000 series in the worker's arrays", middle["array"], "ms")
        self._report.add("10,000 new series, PostgreSQL", middle["postgres"], "ms")
        self._report.add("10,000 new series, Redis", middle["redis"], "ms", reference=middle["postgres"])
        used_ms = {level: used / self._rounds * 1e3 for level, used in cpu_s.items()}
        self._report.add(
            "CPU of PostgreSQL with Redis", used_ms["redis"], "ms", reference=used_ms["postgres"]
        )
        await self._outage(shared, postgres, server, link)

    async def _outage(
        self,
        shared: SharedDirectory,
        postgres: PostgresDirectory,
        server: "subprocess.Popen[bytes]",
        link: RedisLink,
    ) -> None:
        """Freeze Redis: the first look-up waits once, the others not at all."""
        async with asyncio.timeout(20):
            await link.until_ready()
        server.send_signal(signal.SIGSTOP)
        first = await self._resolve(Resolver(shared))
        frozen: list[float] = []
        alone: list[float] = []
        for _ in range(2 * self._rounds):
            frozen.append(await self._resolve(Resolver(shared)))
            alone.append(await self._resolve(Resolver(postgres)))
        server.send_signal(signal.SIGCONT)
        reference = statistics.median(alone)
        self._report.add("first look-up after Redis froze", first, "ms", reference=reference)
        self._report.add(
            "later look-ups while Redis is frozen",
            statistics.median(frozen),
            "ms",
            reference=reference,
            goal=at_most(1.25, of="ratio"),
        )

    async def _resolve(self, resolver: Resolver) -> float:
        """Return milliseconds; the batch is decoded beforehand."""
        decoded = self._decoder.decode(self._batch)
        started = time.perf_counter()
        resolved = await resolver.resolve(decoded, self._batch, self._decoder.series)
        taken = (time.perf_counter() - started) * 1e3
        if len(resolved.rows) != _CONTROLLERS * (len(_STATES) + len(_MOTION) + 3 * len(_SENSORS)):
            raise RuntimeError(f"{len(resolved.rows)} rows, {len(resolved.dead_letters)} dead letters")
        return taken


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[tuple["subprocess.Popen[bytes]", RedisLink]]:
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is missing: apt-get install redis-server")
    port = pick_port(0)
    server = subprocess.Popen(  # noqa: ASYNC220  it starts in a moment
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  no thread of ours holds a lock
    )
    link = RedisLink(RedisSettings(redis_url=f"redis://127.0.0.1:{port}"), name="bench")
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(20):
            await link.until_ready()
        yield server, link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.kill()
        server.wait()


def _messages() -> Messages:
    now_us = time.time_ns() // 1000
    topics: list[bytes] = []
    payloads: list[bytes] = []
    for number in range(_CONTROLLERS):
        for place in (*_STATES, *_MOTION, *_SENSORS):
            verb = "tele" if place in _SENSORS else "stat"
            topics.append(f"{verb}/f2-02{number:010x}/{place}".encode())
            payloads.append(_SENSOR if place in _SENSORS else _STATE)
    return Messages(topics, payloads, now_us)
