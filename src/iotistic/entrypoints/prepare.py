"""Makes what an installation in containers needs before its first start; run again, it changes nothing.

    python -m iotistic prepare

    SECRETS_FOLDER/postgres/password     for TimescaleDB and our processes
                   redis/password, redis.conf
                   mqtt/password         of our services at the broker
                   operator/api-token    of the API and the certificate authority
                   metrics/token         for Prometheus
                   grafana/password      of Grafana's first user
                   trust/ca.crt          what clients trust
    IDENTITY_FOLDER/ca.crt, broker.crt, broker.key

Each folder is a volume that only those containers get who need it. What images of others read under
users of their own has mode 444; who gets the volume is what guards it.
"""

import shutil
from pathlib import Path

import structlog
from pydantic import Field

from iotistic.kernel.files import PRIVATE, PUBLIC, secret_file, write_atomic
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.settings import load_settings
from iotistic.pki.identities import ensure_broker_certificate
from iotistic.pki.settings import AuthoritySettings

log = structlog.get_logger()

_BROKER = "mosquitto"
"""The broker's name on the network of the containers; MQTT_BROKER_HOST adds the one that devices use."""
_OURS = ("mqtt/password", "operator/api-token")
_FOR_OTHERS = ("postgres/password", "redis/password", "metrics/token", "grafana/password")
_READABLE = 0o444
_PREFIXES = {"operator/api-token": "iot_"}


class PrepareSettings(AuthoritySettings, HomeSettings, LogSettings):
    """Where secrets and the broker's identity go."""

    secrets_folder: Path = Path("/secrets")
    """Folder of one folder of secrets for each engine."""
    identity_folder: Path = Path("/identity")
    """Folder of the broker's certificate and key."""
    redis_max_memory: str = Field(default="256mb", pattern=r"^[1-9][0-9]*(kb|mb|gb)$")
    """Memory that Redis may take; the least used entries give way."""


def main() -> None:
    """Make what is missing."""
    settings = load_settings(PrepareSettings)
    configure_logging(settings, process="prepare")
    prepare(settings)
    log.info("installation.prepared")


def prepare(settings: PrepareSettings) -> None:
    """Make what is missing; raises OSError when a folder cannot be written."""
    settings.home.create()
    for name in (*_OURS, *_FOR_OTHERS):
        path = settings.secrets_folder / name
        secret_file(path, prefix=_PREFIXES.get(name, ""))
        path.chmod(_READABLE if name in _FOR_OTHERS else PRIVATE)
    _configure_redis(settings)
    _identify_broker(settings)


def _configure_redis(settings: PrepareSettings) -> None:
    """Write Redis' configuration, so that its password stands on no command line."""
    folder = settings.secrets_folder / "redis"
    lines = (
        f"requirepass {secret_file(folder / 'password')}",
        f"maxmemory {settings.redis_max_memory}",
        "maxmemory-policy allkeys-lru",
        'save ""',
        "appendonly no",
    )
    write_atomic(folder / "redis.conf", "\n".join(lines) + "\n", mode=_READABLE)


def _identify_broker(settings: PrepareSettings) -> None:
    """Give the broker its certificate, without a way to the authority's key."""
    identity = ensure_broker_certificate(settings.home, settings, listen_addresses=[_BROKER])
    for source, mode in (
        (identity.ca_certificate, PUBLIC),
        (identity.certificate, PUBLIC),
        (identity.key, PRIVATE),
    ):
        copy = settings.identity_folder / source.name
        shutil.copyfile(source, copy)
        copy.chmod(mode)
    trust = settings.secrets_folder / "trust" / "ca.crt"
    write_atomic(trust, identity.ca_certificate.read_bytes(), mode=_READABLE)
