"""Frames that travel over a channel which may lose some: each says how many rows went before it.

    16 bytes sender | u64 rows that this sender committed before this frame | frame

The count goes on whether a frame got through or not, so a receiver sees from the next frame how many rows
it did not get, wherever they were lost: in the sender's queue, in the channel, or while it was away.
"""

import struct
import uuid
from collections import OrderedDict

from iotistic.telemetry.live.frames import Frame, FrameInvalid, FrameReader, LostFrame, rows_in

_HEAD = struct.Struct("<16sQ")
_MOST_SENDERS = 1_000
_MOST_ROWS = 2**48  # a sender that says more is none of ours


class Sealer:
    """The sending side: puts one sender's name and count before its frames."""

    def __init__(self) -> None:
        self._sender = uuid.uuid4().bytes
        self._rows = 0

    def seal(self, frame: bytes) -> bytes:
        """Return the message for `frame`."""
        message = _HEAD.pack(self._sender, self._rows) + frame
        self._rows += rows_in(frame)
        return message

    def skip(self, rows: int) -> None:
        """Count rows that no frame is made of."""
        self._rows += rows


class Unsealer:
    """The receiving side: remembers how far each sender has come."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def open(self, message: bytes) -> list[Frame]:
        """Return the frames of a message, with what was lost before it first. Raises FrameInvalid."""
        if len(message) < _HEAD.size:
            raise FrameInvalid("a message of the live channel is too short", bytes=len(message))
        sender, before = _HEAD.unpack_from(message)
        if before > _MOST_ROWS:
            raise FrameInvalid("a message of the live channel counts too many rows", rows=before)
        body = message[_HEAD.size :]
        frames = FrameReader().feed(body)
        if not frames:
            return []
        lost = before - self._seen.get(sender, before)
        self._seen[sender] = before + rows_in(body)
        self._seen.move_to_end(sender)
        if len(self._seen) > _MOST_SENDERS:
            self._seen.popitem(last=False)
        return [LostFrame(lost), *frames] if lost > 0 else frames
