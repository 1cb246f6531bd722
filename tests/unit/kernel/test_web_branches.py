"""Branches of routes: every request finds the route that it would find without them, whatever came before."""

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.routing import Match

from iotistic.kernel.web.branches import Branch, Words

PATHS = (
    ("GET /devices", "POST /devices", "GET /devices/{uuid}", "PUT /devices/{uuid}/tags", "GET /devices/tags"),
    ("GET /devices/{uuid}/logs", "GET /devices/{uuid}/logs/{name}", "GET /jobs/next"),
    ("GET /jobs/{job_id}", "DELETE /jobs/{job_id}", "GET /files/{name:path}/text", "GET /tags/"),
)
SEGMENTS = ["api", "v1", "devices", "tags", "logs", "jobs", "next", "files", "text", "7", "x y", "", "é"]
requests = st.lists(
    st.tuples(
        st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH"]),
        st.one_of(
            st.lists(st.sampled_from(SEGMENTS), max_size=6).map(lambda parts: "/" + "/".join(parts)),
            st.lists(st.sampled_from(SEGMENTS), max_size=5).map(
                lambda parts: "/api/v1/" + "/".join(parts),
            ),
        ),
    ),
    min_size=1,
    max_size=12,
)


def routers():
    for paths in PATHS:
        router = APIRouter()
        for name in paths:
            method, path = name.split(" ", 1)
            router.add_api_route(path, lambda: None, methods=[method], name=name)
        yield router


def plain():
    whole = APIRouter()
    for router in routers():
        whole.include_router(router)
    return served(whole)


def branched():
    words = Words("/api/v1")
    return served(Branch(words, *(Branch(words, router) for router in routers())))


def served(whole):
    app = FastAPI(openapi_url=None)
    app.include_router(whole, prefix="/api/v1")
    return app


def found(app, method, path):
    """Return how a request is answered by what the router finds for it: the match, and the route."""
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    for candidate in app.router.routes:
        match, _ = candidate.matches(scope)
        if match is not Match.NONE:
            return match, innermost(candidate, scope).name
    return Match.NONE, None


def innermost(route, scope):
    return innermost(route._match(scope)[2], scope) if hasattr(route, "_match") else route


@given(requests)
@example([("GET", "/7/7/devices"), ("GET", "/api/v1/devices")])
@example([("GET", "/api/v1/7"), ("GET", "/api/v1/devices"), ("GET", "/api/v1/tags/")])
@example([("GET", "/api/v1/devices/7/7"), ("GET", "/api/v1/devices/7/logs")])
def test_requests_find_the_route_that_they_would_find_without(asked):
    with_branches, without = branched(), plain()

    for method, path in asked:
        assert found(with_branches, method, path) == found(without, method, path)


def test_paths_of_many_shapes_fill_no_memory():
    words = Words("/api/v1")
    branch = Branch(words, *routers())
    app = served(branch)
    for number in range(5000):
        found(app, "GET", "/" + "/".join("devices" if number >> bit & 1 else "tags" for bit in range(13)))

    assert len(branch._nothing_for) == 4096
    assert found(app, "GET", "/api/v1/devices/7") == (Match.FULL, "GET /devices/{uuid}")


def test_a_segment_that_is_open_in_a_part_is_refused():
    router = APIRouter()
    router.add_api_route("/files/{name}.csv", lambda: None)

    with pytest.raises(ValueError, match="as a whole"):
        Branch(Words(""), router)
