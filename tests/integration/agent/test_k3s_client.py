"""Getting in with a client certificate, as K3s' own kubeconfig does."""

import ssl
from dataclasses import replace

import pytest
from aiohttp import web
from kubelet_double import own_certificate

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s.access import Access
from iotistic.agent.engines.k3s.client import KubeClient


@pytest.fixture
async def access(tmp_path):
    """A server that believes one certificate, and the access that has it."""
    context = own_certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "cert.pem")

    async def who(request):
        return web.json_response(dict(request.transport.get_extra_info("peercert")["subject"][0]))

    app = web.Application()
    app.router.add_get("/version", who)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    certificate, key = ((tmp_path / name).read_text() for name in ("cert.pem", "key.pem"))
    yield Access(f"https://127.0.0.1:{runner.addresses[0][1]}", certificate, certificate, key)
    await runner.cleanup()


async def asked(access):
    client = KubeClient(access)
    try:
        return await client.get("version")
    finally:
        await client.close()


async def test_a_client_certificate_is_shown(access):
    assert await asked(access) == {"commonName": "device"}


async def test_a_server_that_nobody_vouches_for_is_not_believed(access):
    with pytest.raises(EngineUnavailable, match="certificate"):
        await asked(replace(access, authority=""))


async def test_without_a_certificate_there_is_no_way_in(access):
    with pytest.raises(EngineUnavailable):
        await asked(replace(access, certificate=""))


async def test_the_server_may_be_believed_under_another_name(access):
    with pytest.raises(EngineUnavailable):
        await asked(replace(access, server_name="elsewhere"))
