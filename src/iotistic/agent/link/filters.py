"""Who hears messages of which topics."""

from collections.abc import Callable

import structlog

log = structlog.get_logger()

Handler = Callable[[str, bytes], None]


class Handlers:
    """Those of one link, in the order in which they came."""

    def __init__(self) -> None:
        self._handlers: list[tuple[str, Handler]] = []

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...]:
        """Filters with the QoS to ask for, each once."""
        return tuple((topic_filter, 1) for topic_filter in dict(self._handlers))

    def add(self, topic_filter: str, handler: Handler) -> None:
        """Let a handler hear of a filter."""
        self._handlers.append((topic_filter, handler))

    def hear(self, topic: bytes, payload: bytes) -> None:
        """Give a message to whom it concerns. A handler that fails is our own fault, and costs nobody else's message."""
        try:
            name = topic.decode()
        except UnicodeDecodeError:
            return
        for topic_filter, handler in self._handlers:
            if matches(topic_filter, name):
                try:
                    handler(name, payload)
                except Exception:
                    log.exception("mqtt.handler_failed", topic_filter=topic_filter)


def matches(topic_filter: str, topic: str) -> bool:
    """Say whether a filter means a topic: `+` is one level, `#` any number of them, also none."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    elif len(levels) != len(wanted):
        return False
    return all(one in ("+", level) for one, level in zip(wanted, levels, strict=True))
