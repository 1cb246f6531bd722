"""What came of an operation, as far as it was waited for. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iotistic.planning.model import Container, Current, Service, ServiceState, Status, Target
from iotistic.planning.services import has_finished
from iotistic.planning.steps import Noop, Step


@dataclass(frozen=True, slots=True)
class ServiceOutcome:
    """A service, and how it stands; `status` is the engine's word, or missing."""

    app_id: str
    service_id: str
    name: str
    wanted: ServiceState
    status: str
    container_id: str | None
    app_name: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an operation. When it is not `done`, it goes on, and `waiting` says what it waits for."""

    done: bool
    services: tuple[ServiceOutcome, ...] = ()
    waiting: tuple[str, ...] = ()
    took_s: float = 0.0


def is_met(service: Service, current: Current) -> bool:
    """Say whether a service is as it is wanted."""
    containers = _containers(service, current)
    match service.state:
        case ServiceState.STOPPED:
            return not any(one.is_up for one in containers)
        case ServiceState.PAUSED:
            return any(one.status is Status.PAUSED for one in containers)
        case ServiceState.RUNNING:
            restart = service.config.restart
            return any(one.status is Status.RUNNING or has_finished(one, restart) for one in containers)


def describe(services: Iterable[Service], current: Current) -> tuple[ServiceOutcome, ...]:
    """Return how services stand."""
    return tuple(_described(service, _containers(service, current)) for service in services)


def waiting_for(
    services: Sequence[Service], app_id: str, steps: Iterable[Step], away: str
) -> tuple[str, ...]:
    """Return what a plan says it waits for, as far as it concerns these services."""
    subjects = {f"app {app_id}"}
    for service in services:
        subjects |= {
            f"service {service.name}",
            f"service {service.key.service_id}",
            f"image {service.config.image}",
        }
    found = [
        f"{step.subject}: {step.why}" for step in steps if isinstance(step, Noop) and step.subject in subjects
    ]
    return tuple([f"the container engine does not answer: {away}", *found] if away else found)


def services_of(target: Target, keys: Iterable[object]) -> list[Service]:
    """Return the services of these keys, in the target's order."""
    wanted = set(keys)
    return [service for app in target.apps for service in app.services if service.key in wanted]


def _containers(service: Service, current: Current) -> list[Container]:
    found = [one for one in current.containers if one.key == service.key]
    return sorted(found, key=lambda one: (not one.is_up, -one.started_at))


def _described(service: Service, containers: list[Container]) -> ServiceOutcome:
    one = containers[0] if containers else None
    return ServiceOutcome(
        service.key.app_id,
        service.key.service_id,
        service.name,
        service.state,
        "missing" if one is None else str(one.status),
        None if one is None else one.id,
        service.app_name,
    )
