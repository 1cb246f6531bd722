"""Failures of the earlier system in its routes, each as a test of the whole API as it is served."""

import re
from pathlib import Path

from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path
from test_whole_api import OPERATOR, device, whole  # noqa: F401  a fixture

CASES = Path(__file__).parents[3] / "cases"


def routes_of(app):
    """Return (method, path) of every route, in the order in which they are tried."""
    return [
        (method, route.path)
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods or ())
    ]


def without_names(path):
    return re.sub(r"{[^}]*}", "{}", path)


async def test_lesson_8_and_9_no_route_hides_another(whole):  # noqa: F811
    """`/alerts/alerts/stats` was taken for an alert called stats; of two routes for logs the first one won."""
    routes = [(method, path, compile_path(path)[0]) for method, path in routes_of(whole[0].app)]

    def answering(method, path):
        return next(found for one, found, regex in routes if one == method and regex.match(path))

    asked = [(method, path, re.sub(r"{[^}]*}", "0" * 12, path)) for method, path, _ in routes]
    hidden = [(method, path) for method, path, example in asked if answering(method, example) != path]

    assert len(routes) > 150
    assert len({(method, path) for method, path, _ in routes}) == len(routes)
    assert hidden == []


async def test_lesson_9_what_devices_and_dashboards_call_is_there(whole):  # noqa: F811
    """Routers of schedules and others were never mounted, and everything below them was 404."""
    served = {(method, without_names(path)) for method, path in routes_of(whole[0].app)}
    wanted = [line.split() for line in (CASES / "contract_routes.txt").read_text().splitlines()]
    missing = [line for line in wanted if line and line[0] != "#" and tuple(line[:2]) not in served]

    assert missing == []


async def test_lesson_27_a_device_is_shown_without_its_credentials(whole):  # noqa: F811
    """`GET /devices/:uuid` had the hash of the device's key."""
    desk, control = whole
    uuid, key = await device(control, desk)
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    shown = await desk.client.get(f"/api/v1/devices/{uuid}", headers=operator)
    listed = await desk.client.get("/api/v1/devices", headers=operator)

    assert uuid in shown.text
    assert uuid in listed.text
    assert (
        re.findall(r"[a-z_]*(?:hash|digest|password|secret|api_key)[a-z_]*", shown.text + listed.text) == []
    )
    assert key not in shown.text + listed.text
