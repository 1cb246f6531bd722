"""The names and bounds of the delivery contract that both ends share: plain Python, so that an agent can have it.

What they mean, and the messages that are made of them, stands in `delivery`.
"""

EPOCH_PROPERTY, SEQUENCE_PROPERTY = "epoch", "seq"
STAMP_MARK = b"S"
"""What correlation data with a stamp begins with."""
_EPOCH_BYTES, _SEQUENCE_BYTES = 6, range(1, 8)
LARGEST = 2**53 - 1
"""Largest epoch and sequence number: what every JSON reader can hold."""
MOST_RANGES = 100
"""Ranges in one request, and in one receipt."""
MOST_ASKED = 1000
"""Messages in one request."""
MOST_PAYLOAD_BYTES = 16_384

RESEND, RECEIPT, SIGNED_RECEIPT = "resend", "receipt", "signed-receipt"
"""What senders are told, as the last level of a topic."""


def stamp_data(epoch: int, sequence: int) -> bytes:
    """Return a stamp as correlation data: the broker pays for each property, and for each byte.

    Raises OverflowError for an epoch beyond 2**48, which is one in milliseconds of the year 10889.
    """
    width = (sequence.bit_length() + 7) // 8
    return STAMP_MARK + epoch.to_bytes(_EPOCH_BYTES, "big") + sequence.to_bytes(width, "big")


def parse_stamp_data(data: bytes) -> tuple[int, int] | None:
    """Return epoch and sequence number of correlation data; None when it is no stamp."""
    if not data.startswith(STAMP_MARK) or len(data) - 1 - _EPOCH_BYTES not in _SEQUENCE_BYTES:
        return None
    epoch, sequence = data[1 : 1 + _EPOCH_BYTES], data[1 + _EPOCH_BYTES :]
    return int.from_bytes(epoch, "big"), int.from_bytes(sequence, "big")


def stamp_property(epoch: int, sequence: int) -> tuple[str, str]:
    """Return a stamp as a user property, for senders whose library sets no correlation data."""
    return SEQUENCE_PROPERTY, f"{epoch}:{sequence}"


def agent_topic(uuid: str, verb: str) -> str:
    """Return the topic that an agent is told something about its deliveries on."""
    return f"iot/device/{uuid}/ledger/{verb}"


def agent_reply_topic(uuid: str) -> str:
    """Return the topic that an agent answers requests on."""
    return f"{agent_topic(uuid, RESEND)}/accepted"
