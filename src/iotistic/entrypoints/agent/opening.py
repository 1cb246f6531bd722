"""Reads from disk what an agent's process begins with, and opens the process on it."""

import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from iotistic.agent.link.moving import ADOPTED
from iotistic.agent.local_api.address import KEY_FILE
from iotistic.agent.local_api.key import LocalKey
from iotistic.agent.local_config.config import LocalConfig
from iotistic.agent.logs.hub import LogHub
from iotistic.agent.logs.own import OwnLog
from iotistic.agent.operations.operations import Operations
from iotistic.agent.operations.room import Room
from iotistic.agent.provisioning.provisioner import Around as ProvisioningAround
from iotistic.agent.provisioning.provisioner import Provisioner
from iotistic.agent.store.store import Store
from iotistic.entrypoints.agent.anomalies import opened_watch
from iotistic.entrypoints.agent.assembly import Agent, open_agent
from iotistic.entrypoints.agent.process import AgentProcess, Opened
from iotistic.entrypoints.agent.reports import os_version
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.entrypoints.catalogue import version
from iotistic.kernel.logging import change_level

_clock, _chance = time.time, random.random


@contextlib.asynccontextmanager
async def open_process(
    settings: AgentProcessSettings,
    data: Path,
    *,
    follows_cloud: bool,
    restart: Callable[[], None] | None = None,
) -> AsyncGenerator[AgentProcess]:
    """Yield an agent that is ready to run; `restart` is told when somebody wants another process.

    Raises DockerMissing, RequestInvalid and what the store raises.
    """
    hub = LogHub(_clock, most=settings.max_logs, most_age_s=settings.log_max_age / 1000)
    listeners: list[Callable[[], None]] = []

    def noticed() -> None:
        for listener in listeners:
            listener()

    with OwnLog(hub.add, _clock).listening():
        adjusted = partial(_adjusted, settings)
        async with open_agent(settings, data, noticed=noticed, adjusted=adjusted) as agent:
            config = await LocalConfig.open(agent.store.metadata, settings.given())
            changed = settings.with_local(config.local)
            hub.most = changed.max_logs
            if "LOG_LEVEL" in config.local:
                change_level(changed.log_level)
            opened = await _opened(changed, agent, config, data, follows_cloud=follows_cloud)
            process = AgentProcess(changed, opened, data, hub, follows_cloud=follows_cloud, restart=restart)
            listeners.append(process.noticed)
            yield process


async def _adjusted(settings: AgentProcessSettings, store: Store) -> AgentProcessSettings:
    """Return the settings with what was set on the device on top, for parts that are made first."""
    return settings.with_local((await LocalConfig.open(store.metadata, settings.given())).local)


async def _opened(
    settings: AgentProcessSettings, agent: Agent, config: LocalConfig, data: Path, *, follows_cloud: bool
) -> Opened:
    store = agent.store
    facts = replace(
        settings.device_facts(),
        os_version=settings.os_version or os_version(),
        agent_version=settings.agent_version or version(),
    )
    provisioner = await Provisioner.open(store, ProvisioningAround(_clock, _chance, facts))
    if follows_cloud:
        await provisioner.begin_with(settings.provisioning_request())
    key = LocalKey(store.device, data / KEY_FILE)
    await key.ensure(settings.given_key)
    room = Room(agent.reconciler, agent.record, store.metadata, agent.locks, store.record.save)
    operations = await Operations.open(room)
    watch = await opened_watch(settings, store, _clock)
    broker = (await store.metadata.load()).get(ADOPTED)
    return Opened(agent, await store.device.load(), config, provisioner, operations, key, watch, broker)
