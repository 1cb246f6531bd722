"""Microseconds for a plan: of a device that is settled, and of one where every service is to be replaced.

`reference` is the time for one service times the number of services: a plan is to cost no more than its parts.
"""

import statistics
import time
from dataclasses import replace

from benchmarks.framework import Report, at_most
from iotistic.planning.facts import Facts
from iotistic.planning.model import (
    App,
    Container,
    Current,
    Mount,
    Named,
    Port,
    Service,
    ServiceConfig,
    ServiceKey,
    Status,
    Target,
)
from iotistic.planning.planner import plan

_SERVICES_OF_AN_APP = 10


def run(quick: bool, report: Report) -> None:
    seconds = 0.3 if quick else 2.0
    ones: dict[str, float] = {}
    for count in (1, 10, 100):
        for title, (current, target) in _devices(count).items():
            took_us = _measure(current, target, seconds)
            ones.setdefault(title, took_us)
            reference = None if count == 1 else ones[title] * count
            goal = None if count == 1 else at_most(1.5, of="ratio")
            report.add(f"{title}, {count} services", took_us, "us", reference=reference, goal=goal)


def _devices(count: int) -> dict[str, tuple[Current, Target]]:
    old, new = _target(count, "1"), _target(count, "2")
    return {"settled": (_reached(old), old), "all replaced": (_reached(old), new)}


def _target(count: int, release: str) -> Target:
    services = [_service(number, release) for number in range(count)]
    apps = [
        App(str(first), f"app-{first}", tuple(services[first : first + _SERVICES_OF_AN_APP]))
        for first in range(0, count, _SERVICES_OF_AN_APP)
    ]
    return Target(tuple(apps))


def _service(number: int, release: str) -> Service:
    app_id = str(number - number % _SERVICES_OF_AN_APP)
    config = ServiceConfig(
        f"registry.example/service-{number}:{release}",
        environment=frozenset({("LEVEL", "info"), ("NUMBER", str(number))}),
        ports=frozenset({Port(8000 + number, 80)}),
        mounts=frozenset({Mount(f"data-{number}", "/data")}),
        networks=frozenset({"back"}),
    )
    return Service(ServiceKey(app_id, str(number)), f"service-{number}", config)


def _reached(target: Target) -> Current:
    """Return the device as it is once it has reached a target."""
    services = [service for app in target.apps for service in app.services]
    containers = tuple(
        Container(service.name, service.key, service.name, replace(service.config), Status.RUNNING)
        for service in services
    )
    return Current(
        containers,
        frozenset(service.config.image for service in services),
        frozenset(Named(app.id, "back") for app in target.apps),
        {Named(one.key.app_id, name): 0.0 for one in services for name in one.config.volumes},
    )


def _measure(current: Current, target: Target, seconds: float) -> float:
    took: list[float] = []
    facts, ends_at = Facts(now=1.0), time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        began = time.perf_counter()
        plan(current, target, facts)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6
