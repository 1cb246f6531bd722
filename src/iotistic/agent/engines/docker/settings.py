"""What can be set about Docker. Loaded to read settings, without the engine."""

from dataclasses import dataclass
from pathlib import Path

from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field

SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True, slots=True)
class LogLimits:
    """`max_size` of each file as Docker reads it, like 10m; empty leaves everything to Docker."""

    max_size: str = "10m"
    max_files: int = 3


class RegistrySettings(Settings):
    """Where the agent finds the credentials of private registries."""

    registry_auth_file: Path | None = None
    """File with credentials of registries, as Docker's `config.json` has them (`auths`), for the agent's user alone; read again whenever it changes (default: `registries.json` in the agent's folder)."""


class ContainerLogSettings(Settings):
    """How much Docker keeps of what each container prints. Counts for containers that are made from now on."""

    container_log_max_size: str = Field(default="10m", pattern=r"^([1-9][0-9]{0,8}[kmg]?)?$")
    """Size of each file (bytes, or with k, m, g); empty leaves it to Docker, which keeps all unless it is told."""
    container_log_max_files: int = Field(default=3, ge=2, le=100)
    """Files of each container; the oldest is dropped. With one alone, lines were lost whenever it began anew."""

    @property
    def container_log_limits(self) -> LogLimits:
        """The limits."""
        return LogLimits(self.container_log_max_size, self.container_log_max_files)
