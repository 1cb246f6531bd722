"""Holds answers of an app to what its description says of them: its shapes have no more fields than those they name.

A client is given `answers_as_described(app)` as a hook, so that every test that asks something asks this as well.
"""

import re

import jsonschema_rs

_DOCUMENTS, _VALIDATORS = {}, {}


def answers_as_described(app):
    """Return what looks at each answer of JSON that is no refusal."""

    async def look(response):
        if response.headers.get("content-type") == "application/json" and response.status_code in (
            200,
            201,
            202,
        ):
            await response.aread()
            # Apps with the same routes are described once: it takes longer than most tests.
            key = frozenset(routes_of(app.routes))
            document = _DOCUMENTS.get(key) or _DOCUMENTS.setdefault(key, app.openapi())
            request = response.request
            check(document, key, (request.method, request.url.path, response.status_code), response.json())

    return look


def routes_of(routes):
    """Give what tells routes from others, those of routers in them too."""
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from routes_of(inner.routes)
        else:
            yield (route.path, *sorted(getattr(route, "methods", None) or ()))


def check(document, key, asked, answer):
    """Fail where an answer is not as its description has it."""
    method, path, status = asked
    named = path_of(document, method.lower(), path)
    place = (key, method, named, status)
    if place not in _VALIDATORS:
        described = document["paths"][named][method.lower()]["responses"][str(status)]
        content = described.get("content", {"application/json": {}})["application/json"]
        _VALIDATORS[place] = validator(document, content.get("schema", {}))
    faults = [f"{one.instance_path}: {one.message[:300]}" for one in _VALIDATORS[place].iter_errors(answer)]
    assert faults == [], f"{method} {named} {status}: {faults}"


def path_of(document, method, path):
    """Return the path of a description that is meant: of several, the one with the fewest parameters."""
    fit = [
        one
        for one, operations in document["paths"].items()
        if method in operations and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", one), path)
    ]
    return min(fit, key=lambda one: one.count("{"))


def validator(document, schema):
    """Return what tells faults of an answer from its schema."""
    shapes = {
        name: {"additionalProperties": False} | shape if "properties" in shape else shape
        for name, shape in document["components"]["schemas"].items()
    }
    whole = {**schema, "components": {"schemas": shapes}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
