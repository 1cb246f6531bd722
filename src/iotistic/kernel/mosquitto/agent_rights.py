"""What an agent may do at the broker: its own topics, and no others."""

from collections.abc import Iterator

AGENT_RIGHTS: tuple[tuple[str, str], ...] = (
    ("write", "iot/device/{uuid}/sensor/+"),
    ("write", "iot/device/{uuid}/state"),
    ("write", "iot/device/{uuid}/agent/status"),
    ("write", "iot/device/{uuid}/ledger/resend/accepted"),
    ("readwrite", "iot/device/{uuid}/jobs/#"),
    ("read", "iot/device/{uuid}/state/notify"),
    ("read", "iot/device/{uuid}/agent/update"),
    ("read", "iot/device/{uuid}/ledger/#"),
    ("read", "device/{uuid}/config/#"),
    # The canonical names, whole: what a device says there is heard, and it may keep what it likes to itself.
    ("readwrite", "state/{uuid}/#"),
    ("readwrite", "sensor/{uuid}/#"),
    ("readwrite", "agent/{uuid}/#"),
    # Agents of the earlier system only.
    ("readwrite", "iot/device/{uuid}/shadow/#"),
    ("write", "iot/device/{uuid}/logs/+"),
    ("write", "iot/device/{uuid}/metrics"),
    ("write", "iot/device/{uuid}/status"),
)
"""Access in Mosquitto's words, and a filter; the commonest first, as the broker tries one after the other."""


def agent_rules(uuid: str) -> Iterator[tuple[str, str]]:
    """Yield (access, filter) for one device."""
    for access, pattern in AGENT_RIGHTS:
        yield access, pattern.replace("{uuid}", uuid)


AGENT_PATTERNS = tuple(f"pattern {access} {topic}" for access, topic in agent_rules("%u"))
"""The same for every device whose certificate names its uuid: new devices need no new file."""
