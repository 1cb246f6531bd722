import asyncio
import json

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotistic.kernel.web.auth import unprotected_routes
from iotistic.pki.app import create_pki_app

MAC = "aa:bb:cc:dd:ee:01"
ENROLMENT = [("POST", "/issue"), ("POST", "/csr")]
OPERATOR_ONLY = [
    ("POST", "/revoke"),
    ("GET", "/certificates"),
    ("POST", "/tokens"),
    ("GET", "/tokens"),
    ("DELETE", "/tokens/0123456789ab"),
    ("POST", "/agents/{uuid}/certificate"),
    ("GET", "/metrics"),
]
PUBLIC = ["/health", "/health/live", "/health/ready", "/ca.pem", "/crl.pem", "/openapi.json", "/docs"]
ALL_METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def app():
    """The app without anything behind it: enough to look at its routes."""
    return create_pki_app(None, None, None, operator="x")


def test_every_route_states_what_it_needs(app):
    assert unprotected_routes(app) == []


def test_the_lists_of_this_test_name_every_route(app):
    described = {
        (method.upper(), path.replace("{token_id}", "0123456789ab"))
        for path, item in app.openapi()["paths"].items()
        for method in item.keys() & ALL_METHODS
    }

    assert described == {
        *ENROLMENT,
        *OPERATOR_ONLY,
        ("POST", "/renew"),
        *(("GET", path) for path in PUBLIC[:5]),
    }


async def statuses(client: httpx2.AsyncClient, routes, headers=None) -> dict[tuple[str, str], int]:
    answers = [
        (route, await client.request(*route, json={} if route[0] == "POST" else None, headers=headers))
        for route in routes
    ]
    return {route: answer.status_code for route, answer in answers}


async def test_without_a_credential_only_public_routes_answer(authority):
    stranger = await authority.client()
    refused = await statuses(stranger, ENROLMENT + OPERATOR_ONLY)
    renewal = await stranger.post("/renew", json={})
    public = [(await stranger.get(path)).status_code for path in PUBLIC]

    assert set(refused.values()) == {401}
    assert renewal.status_code == 403
    assert public == [200] * len(PUBLIC)


@pytest.mark.parametrize(
    "token", ["wrong", "iot_wrong", "iote_0123456789ab_wrong", "iote_", "iote__", "iote_\u00e9_x"]
)
async def test_a_wrong_token_opens_nothing(authority, token):
    client = await authority.client()
    headers = {"Authorization": f"Bearer {token}".encode("latin-1")}

    assert set((await statuses(client, ENROLMENT + OPERATOR_ONLY, headers)).values()) == {401}


async def test_an_enrolment_token_does_not_open_what_is_the_operators(authority):
    _, token = await authority.enrol_token()
    enroller = await authority.client(token)

    assert set((await statuses(enroller, OPERATOR_ONLY)).values()) == {403}
    assert set((await statuses(enroller, ENROLMENT)).values()) == {422}


async def test_guessing_tokens_is_slowed_down(authority):
    guesser = await authority.client("iote_0123456789ab_wrong")
    answers = await asyncio.gather(*(guesser.get("/tokens") for _ in range(30)))
    codes = [answer.status_code for answer in answers]

    assert codes.count(401) <= 25
    assert codes.count(429) >= 5


async def test_a_token_is_listed_without_its_secret(authority, operator):
    token_id, token = await authority.enrol_token(label="line 3", max_uses=5, expires_in_hours=1)
    listed = await operator.get("/tokens")

    assert [row["id"] for row in listed.json()] == [token_id]
    assert token not in listed.text
    assert "digest" not in listed.text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
bodies = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("mac", "csr", "replace", "serial", "reason", "label", "max_uses", "key_type"), anything
    ),
)


def examples_of(strategy, count: int) -> list:
    """Collect examples first, because hypothesis and a running event loop do not go together."""
    collected = []

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(example):
        collected.append(example)

    collect()
    return collected


GARBAGE = examples_of(
    st.tuples(st.sampled_from(["/issue", "/csr", "/renew", "/revoke", "/tokens"]), bodies), 150
)
QUERIES = examples_of(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(max_size=20)
            for name in ("mac", "kind", "revoked", "expiring_within_days", "limit", "after")
        },
    ),
    80,
)


async def test_garbage_bodies_are_refused_and_never_an_internal_error(operator):
    sent = [
        await operator.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        for path, body in GARBAGE
    ]

    assert {answer.status_code for answer in sent} <= {200, 201, 400, 403, 404, 409, 422}
    assert {answer.headers["content-type"] for answer in sent} <= {
        "application/json",
        "application/problem+json",
    }


async def test_garbage_queries_are_refused_and_never_an_internal_error(operator):
    sent = [await operator.get("/certificates", params=query) for query in QUERIES]

    assert {answer.status_code for answer in sent} <= {200, 400, 422}


@pytest.mark.parametrize(
    "cursor", ["x", "", "AAAA", "MjAyNi0wMS0wMXxh", "MjAyNi0wMS0wMVQwMDowMDowMCswMDowMHw=", "\0"]
)
async def test_a_made_up_cursor_is_refused(operator, cursor):
    answer = await operator.get("/certificates", params={"after": cursor})

    assert (answer.status_code, answer.json()["code"]) == (400, "page.cursor_invalid")


async def test_a_body_larger_than_any_request_is_refused(operator):
    answer = await operator.post("/csr", content=b" " * 70_000)

    assert answer.status_code == 413
