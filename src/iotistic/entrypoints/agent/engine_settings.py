"""What can be set about containers: what runs them, and how they are kept. Loaded to read settings, without engines."""

from pathlib import Path

from iotistic.agent.engines.docker.settings import SOCKET, ContainerLogSettings, RegistrySettings
from iotistic.agent.engines.k3s.names import NAMESPACE
from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.kernel.settings_words import Field


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


class AgentSettings(EngineSettings):
    """How an agent keeps its containers."""

    reconciliation_interval_ms: int = Field(default=30_000, ge=100)
    """Milliseconds after which the agent looks at its containers although nothing happened."""
    disk_watermark_percent: int = Field(default=85, ge=1, le=100)
    """Percent of the disk in use from which images that nothing needs are removed at once."""
