"""TLS that goes on where the last connection ended, and still believes nobody else."""

import asyncio
import contextlib
import ssl

import pytest
from aiohttp import web
from broker_fixtures import ThrowawayAuthority

from iotistic.agent.link.errors import CloudUnavailable
from iotistic.agent.link.transport import CloudAddress, CloudTransport


@pytest.fixture
def authority(tmp_path):
    return ThrowawayAuthority(tmp_path / "authority")


@contextlib.asynccontextmanager
async def serving(authority, reused):
    """Close each connection at once, and note whether it resumed a session."""

    async def answer(request):
        reused.append(request.transport.get_extra_info("ssl_object").session_reused)
        return web.json_response({}, headers={"Connection": "close"})

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    own, context = authority.issue("cloud"), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.certificate, own.key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_each_connection_but_the_first_goes_on_from_the_one_before(authority):
    reused = []
    async with serving(authority, reused) as port:
        transport = CloudTransport(
            CloudAddress(f"https://localhost:{port}", authority.certificate.read_text())
        )
        for _ in range(4):
            await transport.ask("GET", "/")
            await asyncio.sleep(0.05)  # the ticket comes behind the answer
        await transport.close()

    assert reused == [False, True, True, True]


async def test_a_server_of_another_authority_is_not_believed(authority, tmp_path):
    foreign = ThrowawayAuthority(tmp_path / "foreign", cn="Foreign CA")
    async with serving(foreign, []) as port:
        transport = CloudTransport(
            CloudAddress(f"https://localhost:{port}", authority.certificate.read_text())
        )
        with pytest.raises(CloudUnavailable, match="certificate"):
            await transport.ask("GET", "/")
        await transport.close()
