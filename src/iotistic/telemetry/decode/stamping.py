"""Whose message it was and how its sender numbered it, for the delivery ledger.

Stamps stand beside the payload (read while the packets were cut) or in its JSON. A stamp that cannot be
believed costs nothing but itself: the message is stored as one that has none, and it is counted.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from iotistic.contracts.delivery import LARGEST, parse_stamp
from iotistic.contracts.mac import MacInvalid, parse_mac
from iotistic.telemetry.decode.shapes import Stamped
from iotistic.telemetry.decode.topics import TopicUnknown, check_name, device_ref
from iotistic.telemetry.model import Deliveries, DeviceRef, Int64s, Messages, Stamps

_MOST_SENDERS = 1_000_000
_NONE, _REFUSED = -1, -2
_sequence_of = attrgetter("seq")


_epoch_of = attrgetter("epoch")
_decoder = msgspec.json.Decoder(Stamped)
_numbers = msgspec.json.Decoder(list[int])


def sender_of(topic: bytes) -> DeviceRef | None:
    """Return the sender that a topic names, also for topics that carry no telemetry; None when it names none."""
    try:
        levels = topic.decode().split("/")
        match levels:
            case ["stat" | "tele", name, *_] if name.startswith("f2-"):
                return DeviceRef("mac", parse_mac(name.removeprefix("f2-")))
            case ["sensor", name, _, *_] | ["iot", "device", name, *_]:
                return device_ref(check_name(name))
            case _:
                return None
    except (UnicodeDecodeError, MacInvalid, TopicUnknown):
        return None


def beside_payloads(messages: Messages) -> Deliveries | None:
    """Return the stamps of messages whose payloads nobody could look into."""
    return StampReader().start(messages).deliveries()


class StampReader:
    """Collects the stamps of one batch after another."""

    def __init__(self) -> None:
        self._source_of: dict[bytes, str] = {}

    def start(self, messages: Messages) -> "BatchStamps":
        """Return where the stamps of a batch gather."""
        if len(self._source_of) > _MOST_SENDERS:
            self._source_of.clear()
        return BatchStamps(messages, self._source_of)


class BatchStamps:
    """The stamps of one batch."""

    def __init__(self, messages: Messages, source_of: dict[bytes, str]) -> None:
        self._messages = messages
        self._source_of = source_of
        self._epoch: Int64s | None = None
        self._sequence: Int64s | None = None
        if messages.stamps is not None:
            self._epoch, self._sequence = _believed(messages.stamps)

    def hear(self, found: Sequence[Any], message: Int64s) -> None:
        """Take the stamps that payloads of one kind have in their JSON."""
        # A lone `epoch` is how some devices write the time; it is no stamp, and no attempt at one.
        if not any(map(_sequence_of, found)):
            return
        if self._epoch is None or self._sequence is None:
            self._epoch = np.full(len(self._messages), _NONE, np.int64)
            self._sequence = self._epoch.copy()
        try:
            epoch, sequence = (_whole_numbers(list(map(one, found))) for one in (_epoch_of, _sequence_of))
        except (msgspec.DecodeError, OverflowError):  # not all of them are stamps
            for place, payload in zip(message.tolist(), found, strict=True):
                self._note(place, payload)
            return
        fresh = self._sequence[message] == _NONE
        believed = _believed(Stamps(epoch[fresh], sequence[fresh]), absent=_REFUSED)
        self._epoch[message[fresh]], self._sequence[message[fresh]] = believed

    def hear_unread(self, places: Sequence[int]) -> None:
        """Take the stamps of payloads that did not become readings; as dead letters they are stored too."""
        for place in places:
            if self._sequence is not None and self._sequence[place] != _NONE:
                continue
            try:
                self._note(place, _decoder.decode(self._messages.payloads[place]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue

    def deliveries(self) -> Deliveries | None:
        """Return the stamped messages; None when nothing was stamped."""
        epoch, sequence = self._epoch, self._sequence
        if epoch is None or sequence is None:
            return None
        refused = int((sequence == _REFUSED).sum())
        topics = self._messages.topics
        places = np.flatnonzero(sequence > 0)
        if len(places) < len(topics):
            topics = [topics[place] for place in places.tolist()]
            epoch, sequence = epoch[places], sequence[places]
        sources = self._sources(topics)
        if "" in sources:
            named = [place for place, source in enumerate(sources) if source]
            refused += len(sources) - len(named)
            sources, places = [sources[place] for place in named], places[named]
            epoch, sequence = epoch[named], sequence[named]
        return Deliveries(sources, epoch, sequence, refused, places) if sources or refused else None

    def _note(self, place: int, payload: Any) -> None:
        if bytes(payload.seq) in (b"", b"null"):
            return
        if self._epoch is None or self._sequence is None:
            self._epoch = np.full(len(self._messages), _NONE, np.int64)
            self._sequence = self._epoch.copy()
        if self._sequence[place] != _NONE:
            return
        stamp = parse_stamp(bytes(payload.epoch), bytes(payload.seq))
        self._epoch[place], self._sequence[place] = stamp or (_REFUSED, _REFUSED)

    def _sources(self, topics: list[bytes]) -> list[str]:
        try:
            return list(map(self._source_of.__getitem__, topics))
        except KeyError:
            return [self._learn(topic) for topic in topics]

    def _learn(self, topic: bytes) -> str:
        source = self._source_of.get(topic)
        if source is None:
            ref = sender_of(topic)
            source = self._source_of[topic] = "" if ref is None else f"{ref.kind}:{ref.key}"
        return source


def _whole_numbers(texts: list[msgspec.Raw]) -> Int64s:
    """Read JSON values in one pass; raise DecodeError or OverflowError unless all are whole numbers.

    Each text is one JSON value or nothing, so commas between them cannot be taken for anything else.
    """
    numbers: list[int] = _numbers.decode(b"[%b]" % b",".join(texts))
    if len(numbers) != len(texts):
        raise msgspec.DecodeError
    return np.array(numbers, np.int64)


def _believed(stamps: Stamps, *, absent: int = _NONE) -> tuple[Int64s, Int64s]:
    """Return epochs and sequence numbers, both _REFUSED where they are out of bounds and not `absent`."""
    epoch, sequence = stamps.epoch, stamps.sequence
    absent_here = (epoch == absent) & (sequence == absent)
    fine = (epoch >= 0) & (epoch <= LARGEST) & (sequence >= 1) & (sequence <= LARGEST)
    fine |= absent_here
    if fine.all():
        return epoch.copy(), sequence.copy()
    return np.where(fine, epoch, _REFUSED), np.where(fine, sequence, _REFUSED)
