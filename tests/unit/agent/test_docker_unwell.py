"""A Docker that answers, and cannot say how things are, is away: it ends neither the agent nor its listening."""

import contextlib

import pytest
from aiohttp import web

from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.errors import EngineUnavailable

LISTED = [{"Id": "c1", "Names": ["/web"], "Labels": {}}]


@contextlib.asynccontextmanager
async def unwell_docker(folder, ill_path, status):
    async def answer(request):
        path = request.path.split("/", 2)[2] if request.path != "/version" else "version"
        if ill_path in path:
            return web.json_response({"message": "rw layer snapshot not found"}, status=status)
        answers = {"version": {"ApiVersion": "1.47"}, "containers/json": LISTED, "volumes": {"Volumes": []}}
        return web.json_response(answers.get(path, []))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "docker.sock")).start()
    engine = DockerEngine(folder / "docker.sock")
    try:
        yield engine
    finally:
        await engine.close()
        await runner.cleanup()


@pytest.mark.parametrize("status", [400, 404, 500])
@pytest.mark.parametrize("ill_path", ["images/json", "containers/json", "networks", "volumes"])
async def test_what_cannot_be_listed_makes_an_engine_that_is_away(tmp_path, ill_path, status):
    async with unwell_docker(tmp_path, ill_path, status) as engine:
        with pytest.raises(EngineUnavailable):
            await engine.observe()


async def test_so_does_a_container_that_cannot_be_looked_at(tmp_path):
    async with unwell_docker(tmp_path, "c1/json", 500) as engine:
        with pytest.raises(EngineUnavailable):
            await engine.observe()
        with pytest.raises(EngineUnavailable):
            await engine.start("c1")


async def test_a_container_that_is_gone_meanwhile_is_no_fault(tmp_path):
    async with unwell_docker(tmp_path, "c1/json", 404) as engine:
        assert not (await engine.observe()).containers


async def test_a_refusal_to_tell_what_happens_is_an_absence_too(tmp_path):
    async with unwell_docker(tmp_path, "events", 500) as engine:
        with pytest.raises(EngineUnavailable):
            await anext(engine.events())
