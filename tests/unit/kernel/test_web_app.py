import asyncio
import re
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from iotistic.kernel.errors import Conflict, Denied, Invalid, IotisticError, NotFound, Unavailable
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.auth import Principal, Public, StaticTokens, bearer_auth, unprotected_routes
from iotistic.kernel.web.problems import RateLimited, Unauthenticated

TOKEN = "iot_right"  # not a secret, a test value


class Order(BaseModel):
    mac: str
    amount: int


class SeatTaken(Conflict):
    """Every seat is taken."""

    code = "seat.taken"


def app_with(router: APIRouter | None = None, **options) -> FastAPI:
    app = create_app(title="t", version="1", description="d", **options)
    app.include_router(router or APIRouter(), prefix="/api")
    return app


def client_of(app: FastAPI, *, address: str = "127.0.0.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=(address, 1234), raise_app_exceptions=True)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", verify=False)


def raising(error: Exception) -> APIRouter:
    router = APIRouter(dependencies=[Depends(Public("test"))])

    @router.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise error

    @router.post("/orders")
    async def order(order: Order) -> Order:
        return order

    return router


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("no"), 400),
        (Unauthenticated(), 401),
        (Denied(), 403),
        (NotFound(), 404),
        (SeatTaken(), 409),
        (RateLimited(), 429),
        (Unavailable(), 503),
        (IotisticError(), 500),
    ],
)
async def test_each_kind_of_error_has_its_status(error, status):
    async with client_of(app_with(raising(error))) as client:
        answer = await client.get("/api/raise/x")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == error.code


async def test_a_problem_tells_code_detail_hint_and_fields():
    async with client_of(app_with(raising(SeatTaken(hint="buy one", seats=3)))) as client:
        answer = await client.get("/api/raise/x")

    assert answer.json() == {
        "type": "urn:iotistic:problem:seat.taken",
        "title": "Conflict",
        "status": 409,
        "code": "seat.taken",
        "detail": "Every seat is taken.",
        "error": "seat.taken",
        "message": "Every seat is taken.",
        "hint": "buy one",
        "fields": {"seats": 3},
    }


async def test_unavailable_says_when_to_come_back_and_401_names_the_scheme():
    async with client_of(app_with(raising(Unavailable(retry_after_s=7)))) as client:
        away = await client.get("/api/raise/x")
    async with client_of(app_with(raising(Unauthenticated()))) as client:
        stranger = await client.get("/api/raise/x")

    assert away.headers["retry-after"] == "7"
    assert stranger.headers["www-authenticate"].startswith("Bearer")


async def test_an_unexpected_error_shows_nothing_of_the_inside(capsys):
    async with client_of(app_with(raising(RuntimeError("password=hunter2")))) as client:
        answer = await client.get("/api/raise/x", headers={"X-Request-ID": "abcdefgh"})

    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["request_id"] == "abcdefgh"
    assert answer.headers["x-request-id"] == "abcdefgh"


async def test_a_wrong_body_names_each_faulty_field_and_repeats_no_value():
    async with client_of(app_with(raising(Invalid()))) as client:
        answer = await client.post("/api/orders", json={"amount": "s3cret"})

    assert answer.status_code == 422
    assert set(answer.json()["fields"]) == {"body.mac", "body.amount"}
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[]", b"null", b'{"mac": NaN}', b"[" * 20_000])
async def test_garbage_bodies_are_refused_as_problems(body):
    async with client_of(app_with(raising(Invalid()))) as client:
        answer = await client.post("/api/orders", content=body, headers={"content-type": "application/json"})

    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_paths_and_methods_are_problems_too():
    async with client_of(app_with(raising(Invalid()))) as client:
        unknown = await client.get("/nowhere")
        wrong = await client.put("/api/orders")

    assert (unknown.status_code, unknown.json()["code"]) == (404, "http.not_found")
    assert "/nowhere" in unknown.json()["detail"]
    assert "/docs" in unknown.json()["hint"]
    assert (wrong.status_code, wrong.json()["code"]) == (405, "http.method_not_allowed")


async def chunks(count: int):
    for _ in range(count):
        yield b" " * 100


async def test_a_large_body_is_refused_whether_announced_or_not():
    async with client_of(app_with(raising(Invalid()), body_limit=1000)) as client:
        announced = await client.post("/api/orders", content=b" " * 1001)
        streamed = await client.post("/api/orders", content=chunks(11))

    assert [announced.status_code, streamed.status_code] == [413, 413]


async def test_ready_names_the_check_that_failed_and_why():
    async def fine() -> None: ...
    async def away() -> None:
        raise Unavailable("the database does not answer")

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def broken() -> None:
        raise ValueError("secret inside")

    checks = {"fine": fine, "away": away, "stuck": stuck, "broken": broken}
    async with client_of(app_with(checks=checks)) as client:
        answer = await client.get("/health/ready")
        live = await client.get("/health/live")

    assert live.status_code == 200
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "checks": {
            "fine": "ok",
            "away": "unavailable: the database does not answer",
            "stuck": "no answer within 2 s",
            "broken": "ValueError",
        },
    }


async def test_metrics_are_for_this_machine_only_unless_a_rule_is_given():
    app = app_with()
    async with client_of(app) as local, client_of(app, address="192.0.2.7") as remote:
        answers = [
            await local.get("/metrics"),
            await remote.get("/metrics"),
            await local.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}),
            await remote.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}),
        ]

    assert [answer.status_code for answer in answers] == [200, 403, 403, 403]


async def test_metrics_carry_the_route_template_and_never_the_path():
    async with client_of(app_with(raising(NotFound()))) as client:
        await client.get("/api/raise/device-zebra")
        await client.get("/wp-admin-zebra")
        await client.request("ZEBRA", "/health/live")
        figures = (await client.get("/metrics")).text

    assert 'route="/api/raise/{name}",status="404"' in figures
    assert 'route="unmatched"' in figures
    assert "zebra" not in figures.lower()


def guarded(**options) -> FastAPI:
    router = APIRouter()
    rule = bearer_auth(
        StaticTokens({"operator": TOKEN, "enrol": "iot_enrol"}, scopes={"operator": frozenset({"admin"})}),
        scope="admin",
        **options,
    )

    @router.get("/secret")
    async def secret(caller: Annotated[Principal, Depends(rule)]) -> str:
        return caller.name

    return app_with(router)


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ({}, 401, "auth.credential_required"),
        ({"Authorization": "Basic aW90"}, 401, "auth.credential_required"),
        ({"Authorization": "Bearer"}, 401, "auth.credential_required"),
        ({"Authorization": "Bearer iot_wrong"}, 401, "auth.credential_required"),
        ({"Authorization": "Bearer iot_enrol"}, 403, "auth.scope_missing"),
        ({"Authorization": b"Bearer \xff\xfe"}, 401, "auth.credential_required"),
    ],
)
async def test_missing_and_wrong_tokens_get_401_and_weak_ones_403(header, status, code):
    async with client_of(guarded()) as client:
        answer = await client.get("/api/secret", headers=header)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_right_token_is_let_in_under_its_name():
    async with client_of(guarded()) as client:
        answer = await client.get("/api/secret", headers={"Authorization": f"Bearer {TOKEN}"})

    assert answer.json() == "operator"


async def test_guessing_tokens_is_slowed_down_per_address():
    app = guarded(attempts=FailedAttempts(limit=3))
    async with client_of(app) as guesser, client_of(app, address="192.0.2.9") as other:
        wrong = [await guesser.get("/api/secret", headers={"Authorization": "Bearer x"}) for _ in range(4)]
        right = await other.get("/api/secret", headers={"Authorization": f"Bearer {TOKEN}"})

    assert [answer.status_code for answer in wrong] == [401, 401, 401, 429]
    assert int(wrong[-1].headers["retry-after"]) <= 60
    assert right.status_code == 200


def test_attempts_are_forgiven_after_the_window():
    now = [0.0]
    attempts = FailedAttempts(limit=1, window_s=10, clock=lambda: now[0])
    attempts.failed("a")
    with pytest.raises(RateLimited):
        attempts.check("a")
    now[0] = 10.1

    attempts.check("a")


def test_routes_that_state_no_need_are_found():
    router = APIRouter()
    router.get("/open")(lambda: None)
    nested = APIRouter(prefix="/deep")
    nested.include_router(router)

    assert unprotected_routes(app_with(nested)) == ["GET /api/deep/open"]
    assert unprotected_routes(guarded()) == []


async def test_the_description_lists_the_routes():
    async with client_of(guarded()) as client:
        answer = await client.get("/openapi.json")

    assert "/api/secret" in answer.json()["paths"]
    assert answer.json()["paths"]["/api/secret"]["get"]["security"]


async def test_the_docs_page_needs_nothing_from_elsewhere():
    async with client_of(app_with()) as http:
        page = (await http.get("/docs")).text
        links = re.findall(r'(?:src|href)="([^"]+)"', page)
        answers = {link: (await http.get("/" + link)).status_code for link in links}

    assert len(links) >= 3
    assert set(answers.values()) == {200}
