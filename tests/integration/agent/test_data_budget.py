"""What an agent at rest costs on a mobile network, counted on the wire: MQTT and HTTP inside of TLS.

What it does in an idle month is known (its intervals); what each deed costs is measured here and added up.
"""

import asyncio
import contextlib
import ssl
from dataclasses import replace

import pytest
import structlog
from aiohttp import web
from tests.integration.agent.agent_broker import UUID, agent_place, until
from tests.integration.agent.cloud_double import KEY, CloudDouble
from tests.integration.agent.tollgate import HEAD_BYTES, Tollgate

from iotistic.agent.link.budget import Purpose
from iotistic.agent.link.cloud import Cloud
from iotistic.agent.link.telling_mqtt import MqttReports
from iotistic.agent.link.transport import CloudAddress
from iotistic.agent.metrics.machine import Observer
from iotistic.agent.reporting.machine import describe_machine

log = structlog.get_logger()

HOURS = 30 * 24
POLLS, REPORTS, PINGS = 2 * HOURS, 12 * HOURS, 12 * HOURS  # while MQTT announces; polls every 30 min
GOAL = 10_000_000
TIMES = 5


@contextlib.asynccontextmanager
async def https(authority, *, keep_alive_s, double):
    """Serve the cloud's double over TLS."""
    app = web.Application()
    app.router.add_get("/api/v1/device/{uuid}/state", double._get)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=keep_alive_s)
    await runner.setup()
    own, context = authority.issue("cloud"), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.certificate, own.key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def cost_of_a_poll(authority, *, keep_alive_s, pause_s):
    """Return what one poll costs that finds nothing new, without the first of all."""
    async with (
        https(authority, keep_alive_s=keep_alive_s, double=CloudDouble()) as port,
        Tollgate(port).open() as gate,
    ):
        address = CloudAddress(f"https://localhost:{gate.port}/api/v1", authority.certificate.read_text())
        cloud = Cloud(address, UUID, lambda: KEY)
        etag = (await cloud.target("")).etag
        await asyncio.sleep(pause_s)
        before = gate.tolls
        for _ in range(TIMES):
            assert (await cloud.target(etag)).document is None
            await asyncio.sleep(pause_s)
        cost = gate.tolls - before
        await cloud.close()
    return cost


async def cost_of_a_ping(place, gate):
    place.address = replace(place.address, keep_alive_s=1)
    async with place.online() as link:
        traffic = link._client.traffic
        before, own = gate.tolls, traffic.received
        await until(lambda: traffic.received - own >= TIMES * 24)
        return gate.tolls - before


async def cost_of_a_report(place, gate, folder):
    place.listener("iot/device/+/state")
    observer = Observer(folder)
    observer.look(processes=False)
    async with place.online() as link:
        reports = MqttReports(link, None, UUID)
        before = gate.tolls
        for _ in range(TIMES):
            figures = describe_machine(observer.look(processes=False))
            await reports.report({"is_online": True, "temperature": 51.2, **figures}, Purpose.METRICS)
        await asyncio.sleep(0.1)
        return gate.tolls - before


def by_month(cost, times):
    return cost.bytes / TIMES * times, (cost.bytes + cost.packets * HEAD_BYTES) / TIMES * times


@pytest.fixture
async def figures(tmp_path):
    """Return bytes of an idle month by deed: inside of TCP, and with the heads of TCP and IP."""
    async with agent_place(tmp_path) as place:
        own = place.address
        async with Tollgate(own.port).open() as gate:
            place.address = replace(own, port=gate.port)
            ping = await cost_of_a_ping(place, gate)
            place.address = replace(own, port=gate.port)
            report = await cost_of_a_report(place, gate, tmp_path)
        kept = await cost_of_a_poll(place.broker.authority, keep_alive_s=75, pause_s=0.05)
        anew = await cost_of_a_poll(place.broker.authority, keep_alive_s=0.1, pause_s=0.4)
    assert (kept.connections, anew.connections) == (0, TIMES)
    return {
        "pings": by_month(ping, PINGS),
        "reports": by_month(report, REPORTS),
        "polls, connection kept": by_month(kept, POLLS),
        "polls, each a connection": by_month(anew, POLLS),
    }


async def test_an_idle_month_costs_less_than_10_megabytes_whatever_the_server_keeps(figures):
    for name, (inside, outside) in figures.items():
        log.info("budget.measured", of=name, mb=round(inside / 1e6, 2), mb_with_ip=round(outside / 1e6, 2))

    for polls in ("polls, connection kept", "polls, each a connection"):
        assert sum(figures[name][1] for name in ("pings", "reports", polls)) < GOAL
        assert sum(figures[name][0] for name in ("pings", "reports", polls, polls)) < GOAL  # every 15 min
