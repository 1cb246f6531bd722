"""A batch's stamps as runs of consecutive sequence numbers: what the sink notes for the delivery ledger.

Messages of one sender mostly come in order, so a batch of thousands is a run or two for each sender. No
Python object is made per message on the way; only a batch with numbers out of order is sorted by number.
The row goes out as binary COPY: a driver would take half a microsecond for each element of its arrays,
and in a large fleet nearly every message is a run of its own. A few runs go as text, in the statement that
notes the rollups' minutes (noting.py): a COPY takes two round trips.
"""

import struct
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import asyncpg
import numpy as np
import numpy.typing as npt

from iotistic.telemetry.model import Deliveries, Int64s
from iotistic.telemetry.sink.copying import HEADER, POSTGRES_EPOCH_US, TRAILER, chunks

_SMALL = 1 << 16
_TEXT, _INT8, _INT4 = 25, 20, 23  # PostgreSQL's numbers of these types
_WIDTHS = {_INT8: 8, _INT4: 4}
_FEW = 250

LOG_COLUMNS = ("received_at", "source", "epoch", "first", "last", "repeated")


class Runs(NamedTuple):
    """One entry per run; `repeated` counts messages that came again in it."""

    source: list[str]
    epoch: Int64s
    first: Int64s
    last: Int64s
    repeated: Int64s


def find_runs(deliveries: Deliveries) -> Runs:
    """Return the runs of a batch, by sender in order of arrival, epoch and number."""
    number_of: defaultdict[str, int] = defaultdict(count().__next__)
    codes = np.fromiter(map(number_of.__getitem__, deliveries.source), np.int64, len(deliveries))
    sources = list(number_of)
    code, epoch, sequence = _sorted(codes, deliveries.epoch, deliveries.sequence)
    same = (code[1:] == code[:-1]) & (epoch[1:] == epoch[:-1])
    step = np.diff(sequence)
    starts = np.flatnonzero(np.concatenate(([True], ~(same & (step <= 1)))))
    ends = np.append(starts[1:], len(sequence)) - 1
    repeats = np.concatenate(([False], same & (step == 0)))
    return Runs(
        [sources[number] for number in code[starts].tolist()],
        epoch[starts],
        sequence[starts],
        sequence[ends],
        np.add.reduceat(repeats, starts, dtype=np.int64),
    )


def runs_as_text(runs: Runs) -> tuple[str, ...] | None:
    """Return the columns of a few runs as texts of arrays; None for many, and for names that need escaping."""
    if len(runs.source) > _FEW or (sources := _names_literal(runs.source)) is None:
        return None
    return (sources, *(_literal(column) for column in (runs.epoch, runs.first, *_ends(runs))))


async def copy_runs(connection: asyncpg.Connection, runs: Runs, received_us: int) -> None:
    """Add a batch of any number of runs to the ledger's log, within the transaction that is under way."""
    data = encode_runs(runs, received_us)
    await connection.copy_to_table("ledger_log", source=chunks(data), columns=LOG_COLUMNS, format="binary")


def encode_runs(runs: Runs, received_us: int) -> bytes:
    """Return COPY BINARY data of LOG_COLUMNS: one row."""
    last, repeated = _ends(runs)
    return b"".join(
        (
            HEADER,
            struct.pack(">hiq", len(LOG_COLUMNS), 8, received_us - POSTGRES_EPOCH_US),
            _texts(runs.source),
            _integers(runs.epoch, _INT8),
            _integers(runs.first, _INT8),
            _integers(last, _INT8),
            _integers(repeated, _INT4),
            TRAILER,
        )
    )


def _ends(runs: Runs) -> tuple[Int64s, Int64s]:
    """Return `last` and `repeated`, empty where they say nothing: in a large fleet, for nearly every batch."""
    return (
        runs.last[:0] if np.array_equal(runs.first, runs.last) else runs.last,
        runs.repeated if runs.repeated.any() else runs.repeated[:0],
    )


def _literal(column: Int64s) -> str:
    return f"{{{','.join(map(str, column.tolist()))}}}"


def _names_literal(names: list[str]) -> str | None:
    """Return names as the text of an array; None when some hold what would need escaping."""
    text = '","'.join(names)
    is_plain = "\\" not in text and text.count('"') == 2 * (len(names) - 1)
    return f'{{"{text}"}}' if is_plain else None


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


def _integers(column: npt.NDArray[np.int64], kind: int) -> bytes:
    width = _WIDTHS[kind]
    table = np.empty(len(column), [("bytes", ">i4"), ("value", f">i{width}")])
    table["bytes"] = width
    table["value"] = column
    return _array(kind, len(column), table.tobytes())


def _texts(texts: Sequence[str]) -> bytes:
    joined = "".join(texts)
    width = len(texts[0])
    if not joined.isascii() or set(map(len, texts)) != {width}:
        encoded = [text.encode() for text in texts]
        elements = b"".join([len(text).to_bytes(4, "big") + text for text in encoded])
        return _array(_TEXT, len(texts), elements)
    # Senders of one kind have names of one length.
    table = np.empty(len(texts), [("bytes", ">i4"), ("value", f"S{width}")])
    table["bytes"] = width
    table["value"] = np.frombuffer(joined.encode(), f"S{width}")
    return _array(_TEXT, len(texts), table.tobytes())


def _array(kind: int, length: int, elements: bytes) -> bytes:
    """Return a field that is a one-dimensional array without nulls, its first index 1."""
    if not length:
        return struct.pack(">iiii", 12, 0, 0, kind)
    return struct.pack(">iiiiii", 20 + len(elements), 1, 0, kind, length, 1) + elements
