"""Puts an agent together: engine, disk, locks and the loop, from settings."""

import concurrent.futures
import contextlib
import os
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.port import Engine
from iotistic.agent.health.checking import Checker
from iotistic.agent.health.prober import Prober, tell_reconciler
from iotistic.agent.reconcile.locks import FileLocks
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.reconcile.record import Record
from iotistic.agent.reporting.chronicle import Chronicle, ChroniclingExecutor
from iotistic.agent.store.store import Store
from iotistic.entrypoints.agent.engine_choice import choose_engine
from iotistic.entrypoints.agent.engine_settings import AgentSettings
from iotistic.kernel.errors import Unavailable
from iotistic.planning.facts import Facts
from iotistic.planning.model import Current

log = structlog.get_logger()


class FolderUnusable(Unavailable):
    """The agent's folder cannot be made."""

    code = "agent.folder_unusable"


@dataclass(frozen=True)
class Agent:
    """The parts of one agent."""

    engine: Engine
    store: Store
    record: Record
    reconciler: Reconciler
    locks: FileLocks
    around: Surroundings
    chronicle: Chronicle

    def facts(self) -> Facts:
        """Return what a plan would be made with now."""
        return self.record.facts(
            self.around.clock(),
            locked=self.locks.locked(),
            disk_is_full=self.around.disk_is_full(),
            shares_ports=self.engine.shares_ports,
        )


@contextlib.asynccontextmanager
async def open_agent(
    settings: AgentSettings,
    data: Path,
    *,
    engine: Engine | None = None,
    disk: concurrent.futures.Executor | None = None,
    noticed: Callable[[], None] = lambda: None,
    adjusted: Callable[[Store], Awaitable[AgentSettings]] | None = None,
) -> AsyncGenerator[Agent]:
    """Yield an agent that is ready to run. Raises DockerMissing and what the store raises.

    Agents of one process are given engines of their own, and share threads for the `disk`. `noticed` hears
    that something on the device is not as it was; `adjusted` returns the settings as the disk has them.
    """
    _make(data)
    store = await Store.open(data / "agent.sqlite", executor=disk)
    locks = FileLocks(data / "locks")
    engine = engine or choose_engine(settings, data, locks)
    async with contextlib.AsyncExitStack() as leaving:
        leaving.push_async_callback(store.close)
        leaving.push_async_callback(engine.close)
        settings = settings if adjusted is None else await adjusted(store)
        record = await store.record.load()
        record.held = await locks.regain(record.held)
        health, chronicle = Health(record), Chronicle(time.time)
        leaving.push_async_callback(health.close)
        watermark = settings.disk_watermark_percent / 100
        around = Surroundings(
            time.time,
            locked=locks.locked,
            disk_is_full=lambda: _is_full(data, watermark),
            health=health.of,
            save=store.record.save,
            noticed=noticed,
            retargeted=chronicle.retargeted,
        )
        every_s = settings.reconciliation_interval_ms / 1000
        executor = ChroniclingExecutor(engine, locks, chronicle)
        reconciler = Reconciler(engine, executor, record, around, look_every_s=every_s)
        health.watch(engine, reconciler)
        log.info("agent.opened", engine=engine.name, data=str(data))
        yield Agent(engine, store, record, reconciler, locks, around, chronicle)
        await store.record.save(record)


class Health:
    """What probes say, on engines whose containers can be reached."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._prober: Prober | None = None

    def watch(self, engine: Engine, reconciler: Reconciler) -> None:
        """Begin to ask; the reconciler looks again whenever an answer changes something."""
        if isinstance(engine, DockerEngine):
            tell = tell_reconciler(self._record, time.time, reconciler.look)
            self._prober = Prober(Checker(engine.reach), time.time, tell)

    def of(self, current: Current) -> Current:
        """Return what is there with what probes say of it."""
        return current if self._prober is None else self._prober.health(current)

    async def close(self) -> None:
        """Ask nobody any more."""
        if self._prober is not None:
            await self._prober.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        reason = os.strerror(exc.errno).lower() if exc.errno else str(exc)
        hint = "name another with --data or CONFIG_DIR, or let this user write there"
        raise FolderUnusable(f"the folder {folder} cannot be made: {reason}", hint=hint) from exc


def _is_full(folder: Path, watermark: float) -> bool:
    try:
        used = shutil.disk_usage(folder)
    except OSError:  # a disk that is away ends no agent: its store says so, and containers live elsewhere
        return False
    return used.used > used.total * watermark
