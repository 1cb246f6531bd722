"""The kinds of engines, by the names that people give them."""

from enum import StrEnum


class EngineKind(StrEnum):
    """What runs containers."""

    AUTO = "auto"
    """Docker when its socket is there and may be used, otherwise nothing but a simulation."""
    DOCKER = "docker"
    K3S = "k3s"
    SIMULATED = "simulated"
