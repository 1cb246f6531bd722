"""Everything between the outbox and the cloud, put together: what waits is sent, and the ledger is answered."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable

from iotistic.agent.link.correspondence import Correspondence, Listening
from iotistic.agent.link.sending import LOOK_EVERY_S, WINDOW, Sender
from iotistic.agent.store.outbox import Outbox
from iotistic.agent.store.outbox_rows import Letter, Stamp


class Dispatcher:
    """Of one device, and the one that hears when its outbox was added to."""

    def __init__(
        self,
        outbox: Outbox,
        link: Listening,
        uuid: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        window: int = WINDOW,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._outbox = outbox
        self._ledger = Correspondence(outbox, link, uuid)
        self._sender = Sender(
            outbox,
            link,
            clock,
            chance,
            window=window,
            look_every_s=look_every_s,
            progress=self._ledger.look,
        )

    @property
    def put_off(self) -> int:
        """Topics that the broker takes nothing on now."""
        return self._sender.put_off

    async def append(self, letters: Iterable[Letter]) -> list[Stamp]:
        """Keep messages; they are sent as soon as can be. The same as appending to the outbox itself."""
        return await self._outbox.append(letters)

    async def run(self) -> None:
        """Send and answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sender.run())
            tasks.create_task(self._ledger.run())
