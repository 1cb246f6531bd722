"""K3s as the engine, by the agent's settings."""

import os
from collections.abc import Callable

from iotistic.agent.engines.docker.pulling import Keyring
from iotistic.agent.engines.k3s import access
from iotistic.agent.engines.k3s.engine import K3sEngine
from iotistic.agent.engines.k3s.template import Surroundings
from iotistic.agent.engines.port import Engine
from iotistic.entrypoints.agent.engine_settings import EngineSettings


def k3s_engine(settings: EngineSettings, keyring: Keyring, shared: Callable[[str], list[str]]) -> Engine:
    """Return the engine. Raises KubeconfigInvalid."""
    return K3sEngine(
        _access(settings),
        keyring,
        around=Surroundings(settings.k3s_namespace, node_name=settings.k3s_node),
        storage_class=settings.k3s_storage_class,
        volume_size=settings.k3s_volume_size,
        shared=shared,
    )


def _access(settings: EngineSettings) -> access.Access:
    if settings.kubeconfig is not None:
        return access.by_kubeconfig(settings.kubeconfig)
    return access.in_cluster(os.environ) if access.is_in_cluster(os.environ) else access.by_kubeconfig()
