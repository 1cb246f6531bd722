"""The first two stages on one batch: a fault of ours costs the messages that show it, and never the stream."""

from typing import NamedTuple

import structlog

from iotistic.kernel.errors import Unavailable
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.decode.stamping import beside_payloads
from iotistic.telemetry.model import (
    DeadLetter,
    Messages,
    Origin,
    Resolved,
    concat_deliveries,
    concat_rows,
    no_rows,
)
from iotistic.telemetry.resolve.resolver import Resolver

log = structlog.get_logger()


class Prepared(NamedTuple):
    """Messages and what they say; indices in `resolved` are into these messages."""

    messages: Messages
    resolved: Resolved


class Preparer:
    """Decodes and resolves."""

    def __init__(self, decoder: Decoder, resolver: Resolver) -> None:
        self._decoder, self._resolver = decoder, resolver

    async def prepare(self, messages: Messages) -> list[Prepared]:
        """Return the batch prepared, in parts when some of it showed a fault. Raises Unavailable."""
        try:
            return [Prepared(messages, await self._decode_and_resolve(messages))]
        except Unavailable:
            raise
        except Exception as exc:
            if len(messages) == 1:
                return [Prepared(messages, _set_apart(messages, exc))]
            log.exception("ingest.batch_failed", messages=len(messages))
        halves = messages.split(len(messages) // 2)
        return [part for half in halves for part in await self.prepare(half)]

    async def _decode_and_resolve(self, messages: Messages) -> Resolved:
        decoded = self._decoder.decode(messages)
        return await self._resolver.resolve(decoded, messages, self._decoder.series)


def joined(parts: list[Prepared]) -> Resolved:
    """Return all parts as one batch to write; where its rows came from is not told any more."""
    resolved = [part.resolved for part in parts]
    if len(resolved) == 1:
        return resolved[0]
    return Resolved(
        concat_rows([part.rows for part in resolved]),
        [event for part in resolved for event in part.events],
        [letter for part in resolved for letter in part.dead_letters],
        resolved[0].received_us,
        concat_deliveries(part.deliveries for part in resolved),
    )


def _set_apart(messages: Messages, exc: Exception) -> Resolved:
    letter = DeadLetter(messages.topics[0], messages.payloads[0], "ingest.fault", repr(exc)[:1000])
    rows = no_rows()
    origin = Origin(rows.time_us, rows.device_id, [], [0])
    return Resolved(rows, [], [letter], messages.received_us, beside_payloads(messages), origin)
