"""Holds answers of an app to what its description says of them: its shapes have no more fields than those they name.

A client is given `answers_as_described(app, key)` as a hook, so that every test that asks something asks this as well.
"""

import re

import jsonschema_rs

_DOCUMENTS, _VALIDATORS = {}, {}


def answers_as_described(app, key):
    """Return what looks at each answer of JSON that is no refusal; apps of one key are described once."""
    document = _DOCUMENTS.get(key) or _DOCUMENTS.setdefault(key, app.openapi())

    async def look(response):
        if response.is_success and response.headers.get("content-type") == "application/json":
            request = response.request
            await response.aread()
            check(document, key, (request.method, request.url.path, response.status_code), response.json())

    return look


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
    assert faults == [], f"{method} {named} {status}"


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
