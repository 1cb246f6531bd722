"""What devices and the broker say beside the ledger's own questions: how much is kept back, how much waits.

Both are noted every few seconds, however often they are said, and only the last word of each: a device that
talks without end costs a row.
"""

import time
from collections import OrderedDict

from iotistic.contracts import backlog
from iotistic.contracts.backlog import BacklogMessageInvalid
from iotistic.telemetry.ledger.broker import BrokerFigures
from iotistic.telemetry.ledger.looks import Stages
from iotistic.telemetry.ledger.metrics import ANSWERS
from iotistic.telemetry.ledger.repository import LedgerRepository

_MOST_SENDERS = 20_000


class Hearsay:
    """Gathers what was said, and notes it when told to."""

    def __init__(self, repository: LedgerRepository, stages: Stages) -> None:
        self._repository, self._stages = repository, stages
        self._broker = BrokerFigures()
        self._backlogs: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Take up a message; tell whether it was one for us."""
        if topic.startswith("$SYS/"):
            self._broker.hear(topic, payload, at=time.time(), retained=retained)
            return True
        mac = backlog.asking_device(topic)
        if mac is None:
            return False
        try:
            waiting = backlog.parse_ask(payload).waiting
        except BacklogMessageInvalid:
            ANSWERS.labels("refused").inc()
            return True
        self._backlogs[f"mac:{mac}"] = waiting, time.monotonic()
        if len(self._backlogs) > _MOST_SENDERS:
            self._backlogs.popitem(last=False)
        return True

    async def note(self) -> None:
        """Note what was said since the last time. Raises Unavailable."""
        look = self._broker.take()
        if look is not None:
            await self._stages.note([look])
        said = list(self._backlogs.items())
        if not said:
            return
        now = time.monotonic()
        await self._repository.note_backlogs([(source, waiting, now - at) for source, (waiting, at) in said])
        for source, word in said:
            if self._backlogs.get(source) == word:
                del self._backlogs[source]
