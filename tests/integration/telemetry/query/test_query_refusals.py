"""Without a credential, with bad parameters, with the database away: the answer says what is wrong."""

import re

from iotistic.entrypoints.api import PREFIX
from iotistic.kernel.web.auth import unprotected_routes

BAD = [
    ("series", {"datapoint": "t", "from": "yesterday"}, "query.from"),
    ("series", {"datapoint": "t", "from": "1800-01-01"}, "query.from"),
    ("series", {"datapoint": "t", "from": "-999999999w"}, "query.from"),
    ("series", {"datapoint": "t", "from": "now", "to": "-1h"}, "query.from"),
    ("series", {"datapoint": "t", "from": "-5000d"}, "query.from"),
    ("series", {"datapoint": "t", "points": "1"}, "query.points"),
    ("series", {"datapoint": "t", "points": "10001"}, "query.points"),
    ("series", {"datapoint": "t", "aggregate": "median"}, "query.aggregate"),
    ("series", {"datapoint": "t", "datapont": "u"}, "query.datapont"),
    ("series", {}, "query.datapoint"),
    ("readings", {"limit": "10001"}, "query.limit"),
    ("readings", {"cursor": "bm9uc2Vuc2U"}, "query.cursor"),
    ("readings", {"cursor": "*"}, "query.cursor"),
    ("readings", {"order": "up"}, "query.order"),
    ("events", {"limit": "0"}, "query.limit"),
]


def operations(app) -> list[tuple[str, str]]:
    return [
        (method.upper(), re.sub(r"{[^}]*}", "1", path))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if path.startswith(PREFIX)
    ]


async def test_every_route_states_what_it_needs(app):
    assert unprotected_routes(app) == []
    assert len(operations(app)) >= 20


async def test_every_route_refuses_callers_without_a_token(app, anonymous):
    answers = [await anonymous.request(method, path) for method, path in operations(app)]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["code"] for answer in answers} == {"auth.credential_required"}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


async def test_every_route_refuses_a_wrong_token_and_slows_guessing_down(app, anonymous):
    wrong = {"Authorization": "Bearer iot_a-token-for-tests-onlx"}
    answers = [await anonymous.request(method, path, headers=wrong) for method, path in operations(app)]

    assert {answer.status_code for answer in answers} <= {401, 429}


async def test_a_bad_parameter_is_named(api, store):
    device = await store.device("boiler")
    await store.datapoint("t")
    answers = [await api.get(f"/devices/{device}/{path}", params=parameters) for path, parameters, _ in BAD]

    assert {answer.status_code for answer in answers} <= {400, 422}
    assert {answer.json()["code"] for answer in answers} == {"request.invalid"}
    assert [list(answer.json()["fields"]) for answer in answers] == [[field] for _, _, field in BAD]


async def test_a_mistyped_parameter_is_answered_with_the_ones_that_there_are(api):
    answer = await api.get("/devices", params={"limits": 5})

    said = answer.json()["fields"]["query.limits"]
    assert "q, template, seen_since, sort, cursor, limit" in said


async def test_a_cursor_of_another_list_is_refused(api, store):
    for name in ("a", "b"):
        await store.device(name)
    cursor = (await api.get("/devices", params={"limit": 1})).json()["next_cursor"]

    answer = await api.get("/devices", params={"sort": "name", "cursor": cursor})

    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["query.cursor"])


async def test_an_unknown_datapoint_is_named(api, store):
    device = await store.device("boiler")

    answer = await api.get(f"/devices/{device}/series", params={"datapoint": ["nope"]})

    assert (answer.status_code, answer.json()["code"]) == (404, "datapoint.unknown")
    assert answer.json()["fields"]["datapoints"] == ["nope"]


async def test_a_query_that_takes_too_long_says_so(api, store, pool, connection):
    async with connection.transaction():
        await connection.execute("LOCK TABLE devices IN ACCESS EXCLUSIVE MODE")
        await pool.execute("ALTER ROLE CURRENT_USER SET statement_timeout = '200ms'")
        await pool.expire_connections()
        try:
            answer = await api.get("/devices")
        finally:
            await pool.execute("ALTER ROLE CURRENT_USER RESET statement_timeout")

    assert (answer.status_code, answer.json()["code"]) == (503, "query.too_slow")
    assert answer.headers["retry-after"] == "5"


async def test_the_description_is_complete(anonymous):
    document = (await anonymous.get("/openapi.json")).json()
    routes = [
        (path, operation)
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if path.startswith(PREFIX)
    ]

    assert (await anonymous.get("/docs")).status_code == 200
    assert [path for path, operation in routes if not operation.get("tags")] == []
    assert [path for path, operation in routes if "401" not in operation["responses"]] == []
    assert [path for path, operation in routes if not operation.get("description")] == []
    assert len({operation["operationId"] for _, operation in routes}) == len(routes)
