"""Which route needs what: read off the routes themselves, so that it cannot be wrong."""

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from iotistic.kernel.errors import Invalid
from iotistic.kernel.web.auth import AccessRule


class RouteUndeclared(Invalid):
    """A route does not say what it needs of its caller."""

    code = "access.route_undeclared"


@dataclass(frozen=True, order=True)
class RouteNeed:
    """One method of one path, and what every rule at it states; empty when none does."""

    path: str
    method: str
    rules: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def route_table(app: FastAPI) -> list[RouteNeed]:
    """Return what every route of `app` needs, by path and method."""
    found: list[RouteNeed] = []
    for route in iter_route_contexts(app.routes):
        stated = dict.fromkeys(rule.states for rule in _rules(getattr(route, "dependant", None)))
        found += [
            RouteNeed(route.path or "", method, tuple(stated)) for method in sorted(route.methods or {"*"})
        ]
    return sorted(found)


def check_routes(app: FastAPI) -> list[RouteNeed]:
    """Return the table; raise RouteUndeclared naming every route that states nothing."""
    table = route_table(app)
    if silent := [str(need) for need in table if not need.rules]:
        raise RouteUndeclared(
            f"{len(silent)} route(s) do not say what they need: {', '.join(silent)}",
            hint="declare requires(), signed_in(), device_credential() or public() at each",
            routes=silent,
        )
    return table


def _rules(dependant: Dependant | None) -> Iterator[AccessRule]:
    if dependant is None:
        return
    if isinstance(dependant.call, AccessRule):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _rules(inner)
