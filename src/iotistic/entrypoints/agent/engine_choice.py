"""Which engine runs containers here: Docker, K3s, or a simulation of one."""

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from iotistic.agent.engines.docker.engine import SOCKET, DockerEngine
from iotistic.agent.engines.docker.keyring import RegistrySettings, keyring_of
from iotistic.agent.engines.docker.log_limits import ContainerLogSettings
from iotistic.agent.engines.k3s.names import NAMESPACE
from iotistic.agent.engines.port import Engine
from iotistic.agent.engines.simulated.engine import SimulatedEngine
from iotistic.agent.reconcile.locks import SEEN_AT, FileLocks
from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.kernel.errors import Unavailable

_K3S = "iotistic.entrypoints.agent.k3s_choice"


class DockerMissing(Unavailable):
    """There is no Docker that this user may speak to."""

    code = "agent.docker_missing"


class EngineSettings(RegistrySettings, ContainerLogSettings):
    """What runs containers, and how it is reached."""

    agent_engine: EngineKind = EngineKind.AUTO
    """What runs containers: auto (Docker when its socket is there), docker, k3s, simulated."""
    docker_socket: Path = SOCKET
    """Docker's socket."""
    engine_scope: str = Field(default="", max_length=64, pattern=r"^[A-Za-z0-9._-]*$")
    """Sets the containers of this agent apart from those of others on the same Docker; empty on a device."""
    kubeconfig: Path | None = None
    """How K3s is reached (default: the pod's own account inside a cluster, else /etc/rancher/k3s/k3s.yaml)."""
    k3s_namespace: str = NAMESPACE
    """Namespace of what the agent makes in K3s."""
    k3s_node: str = ""
    """Node that everything runs on; anywhere when empty."""
    k3s_storage_class: str = "local-path"
    """Storage class of volumes."""
    k3s_volume_size: str = "1Gi"
    """Size that volumes are asked for with."""


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
