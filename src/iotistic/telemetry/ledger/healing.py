"""How long healed messages had been missing: percentiles of a small histogram; pure.

Messages are counted by quarters of a factor of two, with the longest time in each. A percentile is the longest
time of the bucket that it falls into: never too small, and less than a fifth too large.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple


class Bucket(NamedTuple):
    """Messages that healed in about the same time."""

    messages: int
    longest_s: float


class Healing(NamedTuple):
    """Seconds from the look at which messages were first missing until they were there."""

    p50_s: float
    p99_s: float
    max_s: float


def healing(buckets: Iterable[Bucket]) -> Healing | None:
    """Return percentiles of what healed, None when nothing did."""
    ordered = sorted(buckets, key=lambda bucket: bucket.longest_s)
    total = sum(bucket.messages for bucket in ordered)
    if not total:
        return None
    found = [_at(ordered, math.ceil(share * total)) for share in (0.5, 0.99, 1.0)]
    return Healing(*(round(seconds, 3) for seconds in found))


def _at(ordered: list[Bucket], rank: int) -> float:
    seen = 0
    for bucket in ordered:
        seen += bucket.messages
        if seen >= rank:
            return bucket.longest_s
    return ordered[-1].longest_s
