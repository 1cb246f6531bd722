"""A device as it is, put together from what it reported and from the target that it reported about. Pure.

A report names containers, images and states; how each was made stands in the version of the target that the
device works on. What a device of the earlier system does not tell is taken as usual: its containers have run for
long, their images are the agent's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from iotistic.planning.facts import Facts
from iotistic.planning.images import are_same
from iotistic.planning.model import (
    Container,
    Current,
    Health,
    Named,
    Service,
    ServiceConfig,
    ServiceKey,
    Status,
    Target,
)

_LONG_AGO_S = 7 * 86400.0
_MOST_NAMES = 500


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a device tells of itself beside its containers; None and empty where it does not."""

    engine: str = ""
    shares_ports: bool = False
    disk_is_full: bool = False
    locked: frozenset[str] = frozenset()
    images: frozenset[str] | None = None
    """Images that the agent fetched."""
    good: Mapping[str, str] | None = None
    """Image of each service's last good release, by `app/service`."""

    @classmethod
    def read(cls, told: object) -> "HostFacts":
        """Read the field `facts` of a report; what cannot be read is as if it had not been told."""
        if not isinstance(told, dict):
            return cls()
        said = cast("dict[str, Any]", told)
        good = said.get("good")
        return cls(
            engine=said["engine"] if isinstance(said.get("engine"), str) else "",
            shares_ports=said.get("shares_ports") is True,
            disk_is_full=said.get("disk_is_full") is True,
            locked=frozenset(_texts(said.get("locked"))),
            images=frozenset(_texts(said["images"])) if isinstance(said.get("images"), list) else None,
            good={str(key): one for key, one in cast("dict[str, Any]", good).items() if isinstance(one, str)}
            if isinstance(good, dict)
            else None,
        )


@dataclass(frozen=True, slots=True)
class ReportedService:
    """One service of a report."""

    key: ServiceKey
    name: str
    image: str
    state: str
    status: str
    service_status: str
    container_id: str = ""
    error: str = ""
    retries: int = 0
    message: str = ""

    @property
    def written_key(self) -> str:
        """Its key as reports and rows write it."""
        return written(self.key)

    def shape(self) -> tuple[str, ...]:
        """Return what a plan depends on: everything but the names of containers."""
        return (*self.key, self.name, self.image, self.state, self.status)


def written(key: ServiceKey) -> str:
    """Return a service's key as reports and rows write it: `7/3`."""
    return f"{key.app_id}/{key.service_id}"


def read_apps(apps: object) -> tuple[ReportedService, ...]:
    """Return the services of a report, in order; what is not a service is left out."""
    return tuple(sorted(_services(apps), key=lambda one: (one.key, one.image, one.container_id)))


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a plan is made with. `guessed` names services whose configuration nobody knows."""

    current: Current
    facts: Facts
    guessed: tuple[str, ...] = field(default=())


def rebuild(
    services: tuple[ReportedService, ...], was: Target, host: HostFacts, *, now: float = _LONG_AGO_S
) -> Rebuilt:
    """Return the device. `was` is the target that the report is about."""
    known = {service.key: service for app in was.apps for service in app.services}
    containers: list[Container] = []
    guessed: list[str] = []
    for number, one in enumerate(services):
        status = _status(one.status)
        if status is None:
            continue
        config = _config(one, known)
        if config is None:
            guessed.append(one.name)
            config = ServiceConfig(one.image)
        containers.append(
            Container(
                f"container-{number}",
                one.key,
                one.name,
                config,
                status,
                health=Health.READY if config.probes.readiness else Health.UNKNOWN,
                exit_code=0 if status is Status.EXITED else None,
                started_at=now - _LONG_AGO_S,
                stopped_by_us=one.state == "stopped",
            )
        )
    current = _surroundings(containers, known, host)
    return Rebuilt(current, _facts(containers, known, host, now), tuple(guessed))


def _surroundings(
    containers: list[Container], known: Mapping[ServiceKey, Service], host: HostFacts
) -> Current:
    configs = [(one.key.app_id, one.config) for one in containers]
    configs += [(key.app_id, known[key].config) for key in known if any(one.key == key for one in containers)]
    images = frozenset(one.config.image for one in containers) | (host.images or frozenset())
    return Current(
        tuple(containers),
        images,
        frozenset(Named(app_id, name) for app_id, config in configs for name in config.networks),
        {Named(app_id, name): 0.0 for app_id, config in configs for name in config.volumes},
    )


def _facts(
    containers: list[Container], known: Mapping[ServiceKey, Service], host: HostFacts, now: float
) -> Facts:
    if host.good is None:
        last_good = {one.key: one.config for one in containers if one.status is Status.RUNNING}
    else:
        last_good = {
            key: service.config if are_same(service.config.image, image) else ServiceConfig(image)
            for key, service in known.items()
            if (image := host.good.get(written(key))) is not None
        }
    fetched = frozenset(one.config.image for one in containers) if host.images is None else host.images
    return Facts(
        now=now,
        last_good=last_good,
        locked=host.locked,
        fetched=fetched,
        disk_is_full=host.disk_is_full,
        shares_ports=host.shares_ports,
    )


def _config(one: ReportedService, known: Mapping[ServiceKey, Service]) -> ServiceConfig | None:
    service = known.get(one.key)
    if service is not None and are_same(service.config.image, one.image):
        return service.config
    return None


def _status(text: str) -> Status | None:
    try:
        return Status(text)
    except ValueError:
        return Status.RUNNING if text == "started" else None


def _services(apps: object) -> Iterator[ReportedService]:
    for app_id, app in _objects(apps):
        listed = app.get("services")
        for service in cast("list[Any]", listed if isinstance(listed, list) else [])[:_MOST_NAMES]:
            if isinstance(service, dict):
                yield _service(app_id, cast("dict[str, Any]", service))


def _service(app_id: str, told: Mapping[str, Any]) -> ReportedService:
    error = told.get("error")
    wrong = cast("dict[str, Any]", error if isinstance(error, dict) else {})
    retries = wrong.get("retryCount")
    return ReportedService(
        ServiceKey(app_id, _text(told.get("serviceId"))),
        _text(told.get("serviceName")),
        _text(told.get("imageName")),
        _text(told.get("state")),
        _text(told.get("status")),
        _text(told.get("serviceStatus")),
        _text(told.get("containerId")),
        _text(wrong.get("type")),
        retries if isinstance(retries, int) else 0,
        _text(wrong.get("message"))[:200],
    )


def _objects(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in (cast("dict[str, Any]", value if isinstance(value, dict) else {})).items():
        if isinstance(one, dict):
            yield str(name), cast("dict[str, Any]", one)


def _text(value: object) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number or isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    listed = cast("list[Any]", value if isinstance(value, list) else [])[:_MOST_NAMES]
    return [one for one in listed if isinstance(one, str)]
