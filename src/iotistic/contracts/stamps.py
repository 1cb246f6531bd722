"""The names and bounds of the delivery contract that both ends share: plain Python, so that an agent can have it.

What they mean, and the messages that are made of them, stands in `delivery`.
"""

EPOCH_PROPERTY, SEQUENCE_PROPERTY = "epoch", "seq"
LARGEST = 2**53 - 1
"""Largest epoch and sequence number: what every JSON reader can hold."""
MOST_RANGES = 100
"""Ranges in one request, and in one receipt."""
MOST_ASKED = 1000
"""Messages in one request."""
MOST_PAYLOAD_BYTES = 16_384

RESEND, RECEIPT, SIGNED_RECEIPT = "resend", "receipt", "signed-receipt"
"""What senders are told, as the last level of a topic."""


def stamp_properties(epoch: int, sequence: int) -> tuple[tuple[str, str]]:
    """Return a stamp as one user property: the broker pays for each of them, and for each byte."""
    return ((SEQUENCE_PROPERTY, f"{epoch}:{sequence}"),)


def agent_topic(uuid: str, verb: str) -> str:
    """Return the topic that an agent is told something about its deliveries on."""
    return f"iot/device/{uuid}/ledger/{verb}"


def agent_reply_topic(uuid: str) -> str:
    """Return the topic that an agent answers requests on."""
    return f"{agent_topic(uuid, RESEND)}/accepted"
