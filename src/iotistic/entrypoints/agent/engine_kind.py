"""The kinds of engines, by the names that people give them."""

from enum import StrEnum


class EngineKind(StrEnum):
    """What runs containers."""

    AUTO = "auto"
    """Docker when its socket is there and may be used, otherwise nothing but a simulation."""
    DOCKER = "docker"
    K3s = "k3s"
    """Not K3S: the command line would call that one k3-s."""
    SIMULATED = "simulated"
