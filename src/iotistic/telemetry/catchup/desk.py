"""Where devices ask: one process at a time has the desk, by a lock that lives as long as its connection.

    asks ----> granter ----> answers ----> senders ----> broker
                  ^
    database -----' loads, twice a second, over the connection that holds the lock

Whoever loses the database does not know whether another has the lock by now, and grants nothing; it goes on
refusing, so that devices learn why. Whoever finds the lock taken is silent.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

import asyncpg
import structlog

from iotistic.contracts import backlog
from iotistic.contracts.backlog import BacklogMessageInvalid
from iotistic.kernel.errors import Denied, IotisticError, Unavailable
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import database_errors, open_connection
from iotistic.kernel.postgres.queries import load_queries
from iotistic.telemetry.catchup import metrics
from iotistic.telemetry.catchup.granter import Answer, Granter
from iotistic.telemetry.catchup.loads import Load, LoadReader, Situation, Trouble
from iotistic.telemetry.catchup.probing import BrokerProbe, Publisher
from iotistic.telemetry.catchup.reporting import REPORT_EVERY_S
from iotistic.telemetry.catchup.settings import CatchupSettings

log = structlog.get_logger()

_SQL = load_queries("iotistic.telemetry.catchup")
_WITHIN_S = 5.0
_RETRY_S = 1.0
_SENDERS = 64
_LATE_S = 5.0
"""Seconds after which an answer that could not be sent is of no use: its device has asked again."""


class LockLost(Unavailable):
    """The connection that holds the lock on granting backlogs has ended."""

    code = "catchup.lock_lost"


class Duty(Enum):
    """What this process does about backlogs."""

    GRANTING = "granting"
    STANDING_BY = "standing_by"
    """Another process grants."""
    CUT_OFF = "cut_off"
    """It cannot be known who grants."""


class Desk:
    """Answers devices until it is stopped."""

    def __init__(
        self,
        dsn: Dsn,
        publisher: Publisher,
        settings: CatchupSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dsn, self._publisher, self._settings, self._clock = dsn, publisher, settings, clock
        self._granter = Granter(settings, random.random)
        self._loads = LoadReader()
        self._probe = BrokerProbe(publisher, clock)
        self._answers: asyncio.Queue[tuple[float, Answer]] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._duty = Duty.CUT_OFF

    async def run(self) -> None:
        """Answer until `stop` is called."""
        beside = [asyncio.create_task(self._send()) for _ in range(_SENDERS)]
        beside.append(asyncio.create_task(self._probe.run()))
        try:
            await self._keep_watch()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def stop(self) -> None:
        """Grant nothing more."""
        self._stopping.set()

    def hear(self, topic: str, payload: bytes) -> None:
        """Hear a question; what is none is counted and forgotten."""
        mac = backlog.asking_device(topic)
        try:
            ask = backlog.parse_ask(payload)
        except BacklogMessageInvalid as exc:
            metrics.IGNORED.labels("invalid").inc()
            log.debug("ask.ignored", topic=topic, reason=exc.message)
            return
        if mac is None:
            metrics.IGNORED.labels("unknown_sender").inc()
        elif self._duty is not Duty.STANDING_BY:
            self._post(self._granter.hear(mac, ask.waiting, self._clock()))

    async def _keep_watch(self) -> None:
        while not self._stopping.is_set():
            try:
                with database_errors():
                    await self._watch_on_one_connection()
            except (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
                self._cut_off(exc)
                await self._rest(_RETRY_S)

    async def _watch_on_one_connection(self) -> None:
        connection = await open_connection(self._dsn, application_name="iotistic-catchup")
        connection.add_termination_listener(self._lose)
        try:
            while not await connection.fetchval(_SQL["become_granter"], timeout=_WITHIN_S):
                self._stand_by()
                await self._rest(_RETRY_S)
                if self._stopping.is_set():
                    return
            self._take_up()
            while not self._stopping.is_set():
                rows = await connection.fetch(_SQL["loads"], timeout=_WITHIN_S)
                if connection.is_closed():
                    raise LockLost
                self._look([Load(*row) for row in rows])
                await self._rest(REPORT_EVERY_S)
        finally:
            connection.remove_termination_listener(self._lose)
            connection.terminate()

    def _lose(self, _: object) -> None:
        self._cut_off(LockLost())

    def _look(self, loads: list[Load]) -> None:
        situation, now = self._loads.read(loads), self._clock()
        # A live reading waits in the broker first, and then for its commit.
        situation = replace(situation, live_delay_s=situation.live_delay_s + self._probe.delay_s)
        given_up = self._granter.given_up
        self._granter.observe(situation, now)
        metrics.STORED.inc(situation.stored)
        metrics.GIVEN_UP.inc(self._granter.given_up - given_up)
        self._post(self._granter.due(now))

    def _take_up(self) -> None:
        if self._duty is not Duty.GRANTING:
            log.info("catchup.granting")
        self._duty = Duty.GRANTING
        metrics.GRANTING.set(1)

    def _stand_by(self) -> None:
        if self._duty is not Duty.STANDING_BY:
            log.info("catchup.standing_by")
            self._granter, self._loads = Granter(self._settings, random.random), LoadReader()
        self._duty = Duty.STANDING_BY
        metrics.GRANTING.set(0)

    def _cut_off(self, exc: Exception) -> None:
        words = exc.message if isinstance(exc, IotisticError) else str(exc) or type(exc).__name__
        code = exc.code if isinstance(exc, IotisticError) else type(exc).__name__
        metrics.FAILURES.labels(code).inc()
        metrics.GRANTING.set(0)
        if self._duty is Duty.GRANTING:
            log.warning("catchup.cut_off", code=code, reason=words)
        self._duty = Duty.CUT_OFF
        self._granter.observe(Situation(Trouble("catchup.database_away", words)), self._clock())

    def _post(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._answers.put_nowait((self._clock(), answer))
            metrics.GRANTED.inc(answer.grant.grant)
            if answer.code:
                metrics.REFUSED.labels(answer.code).inc()
        granter = self._granter
        metrics.WAITING.set(granter.waiting)
        metrics.LEASES.set(granter.leases)
        metrics.WINDOW.set(granter.window)
        metrics.OUTSTANDING.set(granter.outstanding)
        metrics.LIVE_DELAY.set(granter.live_delay_s)
        metrics.LIVE_LIMIT.set(granter.live_limit_s)

    async def _send(self) -> None:
        while True:
            made_at, answer = await self._answers.get()
            if self._clock() - made_at > _LATE_S:
                metrics.UNSENT.inc()
                continue
            try:
                await self._publisher.publish(backlog.grant_topic(answer.mac), backlog.encode(answer.grant))
            except (Unavailable, Denied) as exc:  # what was granted comes back when its time is over
                metrics.UNSENT.inc()
                log.debug("answer.not_sent", mac=answer.mac, reason=exc.message)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
