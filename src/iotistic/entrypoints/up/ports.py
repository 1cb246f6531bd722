"""Ports: the remembered one first, then the preferred one, then a free one.

A remembered port wins over the default so that devices find the broker again after a restart; a port
that was set explicitly wins over both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from iotistic.entrypoints.up.settings import UpSettings
from iotistic.kernel.errors import Invalid
from iotistic.kernel.process import pick_port
from iotistic.telemetry.transports.lanes import Lane

LOOPBACK = "127.0.0.1"


class ListenAddressUnusable(Invalid):
    """This machine has no such address to listen on."""

    code = "up.listen_address_unusable"


@dataclass(frozen=True)
class Chosen:
    """A port, and the one that was wanted but is taken by another program."""

    port: int
    wanted: int

    @property
    def moved(self) -> bool:
        """Whether another port than the wanted one had to be taken."""
        return self.port != self.wanted


def choose(settings: UpSettings, remembered: Mapping[str, int]) -> dict[str, Chosen]:
    """Choose every listening port of the installation, none twice. Raises ListenAddressUnusable."""
    open_to = settings.listen_address
    _check(open_to)
    wishes = {
        "api": (settings.api_port, LOOPBACK),
        "pki": (settings.pki_port, open_to),
        "mqtt": (settings.mqtt_port, open_to),
        "mqtt_account": (settings.mqtt_account_port, open_to),
        "mqtt_service": (0, LOOPBACK),
        **({"device_api": (settings.device_api_port, LOOPBACK)} if settings.agent else {}),
        **dict.fromkeys(_observed(settings), (0, LOOPBACK)),
    }
    chosen: dict[str, Chosen] = {}
    for name, (preferred, host) in wishes.items():
        explicit = name in settings.model_fields_set or f"{name}_port" in settings.model_fields_set
        wanted = preferred if explicit else remembered.get(name) or preferred
        port = _free(wanted, host, taken={choice.port for choice in chosen.values()})
        chosen[name] = Chosen(port, wanted or port)
    return chosen


def _observed(settings: UpSettings) -> list[str]:
    """Name what serves health and metrics only; remembered too, so that scrape targets hold still."""
    workers = [Lane.LIVE.worker("ingest", number) for number in range(settings.workers)]
    return ["up", "maintenance", "control", *workers, Lane.BACKLOG.worker("ingest", 0)]


def _check(address: str) -> None:
    try:
        pick_port(0, host=address)
    except OSError as exc:
        raise ListenAddressUnusable(
            f"this machine has no address {address!r} to listen on",
            hint="name one of its own, or 0.0.0.0 for all of them",
        ) from exc


def _free(wanted: int, host: str, *, taken: set[int]) -> int:
    while True:
        port = pick_port(wanted if wanted not in taken else 0, host=host)
        if port not in taken:
            return port
