"""Where a process shows its health and metrics, and to whom."""

from pydantic import Field, SecretStr

from iotistic.kernel.settings import Settings
from iotistic.kernel.web.auth import BearerAuth, StaticTokens, bearer_auth


class MetricsAccessSettings(Settings):
    """Who may read metrics."""

    metrics_token: SecretStr | None = Field(default=None, min_length=16)
    """Bearer token that opens `/metrics` to callers elsewhere, such as Prometheus; usually METRICS_TOKEN_FILE.
    Without one only callers on the same machine read them."""

    @property
    def metrics_access(self) -> BearerAuth | None:
        """The rule of `/metrics`: holders of the token, None for callers on this machine."""
        if self.metrics_token is None:
            return None
        return bearer_auth(StaticTokens({"metrics": self.metrics_token}))


class MetricsSettings(MetricsAccessSettings):
    """Where a process that has no other HTTP face shows its health and metrics."""

    metrics_host: str = "127.0.0.1"
    """Address that health and metrics are served on."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of health and metrics; 0 takes a free one and writes it to the log."""
