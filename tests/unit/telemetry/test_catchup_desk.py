"""The desk hears anything that anybody publishes, and answers only what was asked."""

import asyncio

import pytest

from iotistic.contracts.backlog import parse_grant
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.telemetry.catchup.desk import Desk
from iotistic.telemetry.catchup.probing import PROBE_TOPIC
from iotistic.telemetry.catchup.settings import CatchupSettings

NOWHERE = Dsn.parse("postgresql://iotistic@127.0.0.1:1/iotistic")
MAC = "aabbccddee01"
GARBAGE = [
    (f"stat/f2-{MAC}/backlog", payload)
    for payload in (
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"waiting": -1}',
        b'{"waiting": "7"}',
        b'{"waiting": 1e300}',
    )
] + [
    (f"stat/f2-{MAC}/backlog", b'{"waiting": 1, "x": "' + b"y" * 2000 + b'"}'),
    ("stat/f2-zz/backlog", b'{"waiting": 5}'),
    (f"stat/{MAC}/backlog", b'{"waiting": 5}'),
    (f"stat/f2-{MAC}/backlog/more", b'{"waiting": 5}'),
]


class Broker:
    """Keeps what is published; the first of it is lost."""

    def __init__(self):
        self.published = asyncio.Queue()
        self.lost = 1

    async def publish(self, topic, payload):
        if topic == PROBE_TOPIC:
            return
        if self.lost:
            self.lost -= 1
            raise Unavailable("lost")
        self.published.put_nowait((topic, parse_grant(payload)))


@pytest.mark.enable_socket
async def test_garbage_changes_nothing_and_an_answer_that_is_lost_stops_no_other():
    broker = Broker()
    desk = Desk(NOWHERE, broker, CatchupSettings())
    running = asyncio.create_task(desk.run())
    desk.hear("stat/f2-aabbccddee99/backlog", b'{"waiting": 5}')
    for topic, payload in GARBAGE:
        desk.hear(topic, payload)
    desk.hear(f"stat/f2-{MAC}/backlog", b'{"waiting": 5, "something": "else"}')
    topic, grant = await asyncio.wait_for(broker.published.get(), 10)
    desk.stop()
    await asyncio.wait_for(running, 10)

    assert topic == f"cmnd/f2-{MAC}/backlog"
    assert grant.grant == 0
    assert grant.reason.startswith(("catchup.starting: ", "catchup.database_away: "))
    assert broker.published.empty()
