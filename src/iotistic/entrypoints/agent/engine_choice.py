"""Which engine runs containers here: Docker, K3s, or a simulation of one."""

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.docker.keyring import keyring_of
from iotistic.agent.engines.port import Engine
from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.agent.reconcile.locks import SEEN_AT, FileLocks
from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.entrypoints.agent.engine_settings import EngineSettings
from iotistic.kernel.errors import Unavailable

_K3S = "iotistic.entrypoints.agent.k3s_choice"


class DockerMissing(Unavailable):
    """There is no Docker that this user may speak to."""

    code = "agent.docker_missing"


def choose_engine(settings: EngineSettings, data: Path, locks: FileLocks | None = None) -> Engine:
    """Return the engine; `data` is the agent's folder, and containers see the locks of their apps.

    Raises DockerMissing when it is wanted and not there, and KubeconfigInvalid.
    """
    kind, socket = settings.agent_engine, settings.docker_socket
    if kind is EngineKind.DOCKER:
        _check_docker(socket)
    keyring, shared = keyring_of(settings, data), _shared(locks)
    if kind is EngineKind.DOCKER or (kind is EngineKind.AUTO and _may_use(socket)):
        limits = settings.container_log_limits
        return DockerEngine(socket, keyring, shared=shared, scope=settings.engine_scope, log_limits=limits)
    if kind is EngineKind.K3s:
        # Loaded when it is wanted: most devices have Docker.
        return importlib.import_module(_K3S).k3s_engine(settings, keyring, shared)
    return SimulatedEngine(time.time)


def _check_docker(socket: Path) -> None:
    if not socket.is_socket():
        raise DockerMissing(f"nothing listens at {socket}", hint="start Docker, or set DOCKER_SOCKET")
    if not _may_use(socket):
        raise DockerMissing(
            f"{socket} may not be used by this user", hint="run as root, or as a member of the group docker"
        )


def _may_use(socket: Path) -> bool:
    return socket.is_socket() and os.access(socket, os.R_OK | os.W_OK)


def _shared(locks: FileLocks | None) -> Callable[[str], list[str]]:
    return lambda app_id: [] if locks is None else [f"{locks.folder(app_id)}:{SEEN_AT}"]
