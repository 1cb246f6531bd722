"""The edge of the API: versions, packing, browsers."""

import httpx2
import pytest
from pydantic import ValidationError

from iotistic.entrypoints.edge import EdgeSettings, add_edge
from iotistic.kernel.web.app import create_app

PAGE = "https://dash.example.com"


@pytest.fixture
def client_of():
    def make(origins=""):
        app = create_app(title="edge", version="0", description="under test")

        @app.get("/long")
        async def long() -> str:
            return "x" * 5000

        @app.get("/short")
        async def short() -> str:
            return "x"

        add_edge(app, EdgeSettings(cors_origins=origins))
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api")

    return make


async def test_every_answer_says_which_version_gave_it(client_of):
    async with client_of() as client:
        answers = [await client.get(path) for path in ("/long", "/nowhere", "/health/live")]

    assert {answer.headers["x-api-version"] for answer in answers} == {"v1"}


async def test_long_answers_are_packed_for_whoever_reads_that(client_of):
    async with client_of() as client:
        packed = await client.get("/long", headers={"Accept-Encoding": "gzip"})
        plain = await client.get("/long", headers={"Accept-Encoding": "identity"})
        short = await client.get("/short", headers={"Accept-Encoding": "gzip"})

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json() == "x" * 5000
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in short.headers


async def test_pages_of_named_origins_may_call_and_others_may_not(client_of):
    async with client_of(f"{PAGE}, http://localhost:5173") as client:
        own = await client.get("/short", headers={"Origin": PAGE})
        foreign = await client.get("/short", headers={"Origin": "https://evil.example"})

    assert own.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-credentials" not in own.headers


async def test_without_origins_no_page_may(client_of):
    async with client_of() as client:
        answer = await client.get("/short", headers={"Origin": PAGE})

    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("wrong", ["*", "dash.example.com", "https://a.example/path", "ftp://a.example"])
def test_what_is_no_origin_is_refused_by_name(wrong):
    with pytest.raises(ValidationError, match="is no origin"):
        EdgeSettings(cors_origins=wrong)
