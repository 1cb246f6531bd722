"""Batches for tests of resolve and sink, with defaults so that a test shows only what matters."""

import json

import numpy as np

from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import DeadLetter, EventRow, Messages, Resolved, Rows
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.model import UnknownPolicy
from iotistic.telemetry.resolve.resolver import Resolver

NOW = 1_795_255_200_000_000  # 2026-11-21T10:00:00Z


def messages(*pairs):
    topics = [topic.encode() for topic, _ in pairs]
    payloads = [body if isinstance(body, bytes) else json.dumps(body).encode() for _, body in pairs]
    return Messages(topics, payloads, NOW)


class Stages:
    """decode and resolve over one database."""

    def __init__(self, pool, policy=UnknownPolicy.ADOPT):
        self.decoder = Decoder()
        self.resolver = Resolver(PostgresDirectory(pool, policy))

    async def resolve(self, *pairs):
        batch = messages(*pairs)
        return await self.resolver.resolve(self.decoder.decode(batch), batch, self.decoder.series)


def rows(*readings):
    """Each reading is (device, datapoint, microseconds after NOW, value)."""
    device, datapoint, after_us, value = zip(*readings, strict=True)
    return Rows(
        np.array(device, np.int32),
        np.array(datapoint, np.int32),
        np.array(after_us, np.int64) + NOW,
        np.array(value, np.float64),
    )


def batch(*readings, events=(), dead_letters=()):
    return Resolved(
        rows(*readings) if readings else rows((1, 1, 0, 0.0)).take(slice(0, 0)),
        [EventRow(*event) for event in events],
        [DeadLetter(*letter) for letter in dead_letters],
        NOW,
    )
