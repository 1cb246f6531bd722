"""Every route of the API is decided: closed by a plan, or open whatever the plan says (tests/cases/plan_gates.txt)."""

from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from tests.unit.whole_app import whole_app

from iotistic.control.licences.gates import EXPORTS, GATED, PlanGate
from iotistic.control.licences.model import Feature, FeatureMissing, Limit, PlanLimit
from iotistic.entrypoints.api import BASE
from iotistic.kernel.web.problems import PlanRefused

CASES = Path(__file__).parents[3] / "cases" / "plan_gates.txt"
LINES = [line.split() for line in CASES.read_text().splitlines() if line and line[0] != "#"]


def decided(*kinds):
    return {(method, path) for kind, method, path, *_ in [line for line in LINES if line[0] in kinds]}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return (method, path below the base) of all routes; no database is asked."""
    app = whole_app(tmp_path_factory.mktemp("home"))
    return {
        (method, route.path.removeprefix(BASE))
        for route in iter_route_contexts(app.routes)
        for method in route.methods or ()
    }


def test_the_gate_closes_what_the_contract_says():
    gated = {(line[1], line[2]): line[3] for line in LINES if line[0] == "gated"}

    assert {key: str(value) for key, value in GATED.items()} == gated
    assert decided("export") == EXPORTS


class Plan:
    """A plan that notes what it is asked for, and contains none of it."""

    def __init__(self):
        self.asked = []

    async def require(self, feature):
        self.asked.append(feature)
        raise FeatureMissing

    async def require_room(self, limit):
        self.asked.append(limit)
        raise PlanLimit


async def admitted(plan, method, path, query=b""):
    url = {"path": f"{BASE}{path}", "query_string": query, "headers": [], "server": ("x", 80)}
    try:
        await PlanGate(plan, base=BASE).admit(Request({"type": "http", "method": method, **url}))
    except PlanRefused:
        return False
    return True


async def test_what_the_plan_does_not_contain_is_refused_and_everything_else_is_not_asked_about():
    plan = Plan()
    closed = [await admitted(plan, *key) for key in GATED]
    files = [await admitted(plan, *key, b"points=5&format=json&format=csv") for key in EXPORTS]
    asked = list(plan.asked)
    pages = [await admitted(plan, *key, b"format=json") for key in EXPORTS]
    rest = [await admitted(plan, "GET", path) for _, path in GATED]

    assert set(closed + files) == {False}
    assert asked == [*GATED.values(), *[Feature.EXPORT_DATA] * len(EXPORTS)]
    assert set(pages + rest) == {True}
    assert plan.asked == asked


def test_every_claim_of_a_licence_is_asked_for_somewhere_or_nothing_serves_it():
    named = {line[-1] for line in LINES if line[0] in ("gated", "export", "absent")}

    assert named == {str(claim) for claim in (*Feature, *Limit)}


def test_every_route_that_makes_something_is_decided_and_there(served):
    posts = {key for key in served if key[0] == "POST"}

    assert posts - decided("gated", "inside", "free") == set()
    assert decided("gated", "export", "inside", "free") - served == set()
