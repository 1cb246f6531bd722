"""A batch's stamps as runs of consecutive sequence numbers: what the sink notes for the delivery ledger.

Messages of one sender mostly come in order, so a batch of thousands is a run or two for each sender. No
Python object is made per message on the way; only a batch with numbers out of order is sorted by number.
"""

from typing import NamedTuple

import numpy as np

from iotistic.telemetry.model import Deliveries, Int64s

_SMALL = 1 << 16


class Runs(NamedTuple):
    """One entry per run; `source` indexes `sources`, `repeated` counts messages that came again in it."""

    sources: list[str]
    source: list[int]
    epoch: list[int]
    first: list[int]
    last: list[int]
    repeated: list[int]


def find_runs(deliveries: Deliveries) -> Runs:
    """Return the runs of a batch, by sender in order of arrival, epoch and number."""
    number_of = {source: number for number, source in enumerate(dict.fromkeys(deliveries.source))}
    codes = np.fromiter(map(number_of.__getitem__, deliveries.source), np.int64, len(deliveries))
    code, epoch, sequence = _sorted(codes, deliveries.epoch, deliveries.sequence)
    same = (code[1:] == code[:-1]) & (epoch[1:] == epoch[:-1])
    step = np.diff(sequence)
    starts = np.flatnonzero(np.concatenate(([True], ~(same & (step <= 1)))))
    ends = np.append(starts[1:], len(sequence)) - 1
    repeats = np.concatenate(([False], same & (step == 0)))
    return Runs(
        list(number_of),
        code[starts].tolist(),
        epoch[starts].tolist(),
        sequence[starts].tolist(),
        sequence[ends].tolist(),
        np.add.reduceat(repeats, starts, dtype=np.int64).tolist(),
    )


def _sorted(code: Int64s, epoch: Int64s, sequence: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Return the columns by sender, epoch and number."""
    # Small codes are sorted by counting, which is several times cheaper than comparing.
    small = code.astype(np.uint16) if len(code) and code.max() < _SMALL else code
    order = np.argsort(small, kind="stable")
    by_sender = code[order], epoch[order], sequence[order]
    ordered_code, ordered_epoch, ordered_sequence = by_sender
    same = ordered_code[1:] == ordered_code[:-1]
    falls = (np.diff(ordered_epoch) != 0) | (np.diff(ordered_sequence) < 0)
    if not (same & falls).any():
        return by_sender
    order = np.lexsort((sequence, epoch, code))
    return code[order], epoch[order], sequence[order]
