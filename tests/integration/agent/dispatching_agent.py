"""An agent's store, link and dispatcher in a process of their own, that keep messages and say so, until killed."""

import asyncio
import json
import os
import sys
from pathlib import Path

import structlog

from iotistic.agent.link.broker import BrokerAddress
from iotistic.agent.link.connecting import Surroundings
from iotistic.agent.link.dispatch import Dispatcher
from iotistic.agent.link.mqtt import MqttLink
from iotistic.agent.store.outbox_rows import Letter
from iotistic.agent.store.store import Store
from iotistic.kernel.mqtt.lean_model import Backoff

EPOCH = 1_800_000_000


async def work(plan: dict[str, object]) -> None:
    """Run until the end of the world; each message is said as `epoch sequence name` once it is kept."""
    store = await Store.open(Path(str(plan["folder"])) / "agent.sqlite", clock=lambda: float(EPOCH))
    address = BrokerAddress(**plan["address"])  # type: ignore[arg-type]
    around = Surroundings(spread_s=0, backoff=Backoff(0.02, 0.1))
    link = MqttLink(lambda: address, around=around)
    dispatcher = Dispatcher(store.outbox, link, str(plan["uuid"]), look_every_s=0.5)

    async def append() -> None:
        for count in range(int(str(plan["messages"]))):
            name = f"{plan['seed']}-{count}"
            (stamp,) = await dispatcher.append([Letter(str(plan["topic"]), name.encode())])
            os.write(1, f"{stamp.epoch} {stamp.sequence} {name}\n".encode())

    await asyncio.gather(link.run(), dispatcher.run(), append())


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(work(json.loads(sys.argv[1])))
