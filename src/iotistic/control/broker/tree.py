"""Topics as a tree of their levels; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from iotistic.control.broker.traffic import TopicFigures


@dataclass(slots=True)
class TopicNode:
    """One level; figures are of everything at and below it."""

    name: str
    topic: str
    messages: float = 0.0
    bytes: float = 0.0
    topics: int = 0
    children: dict[str, "TopicNode"] = field(default_factory=dict[str, "TopicNode"])

    def add(self, figures: TopicFigures) -> None:
        """Count a topic."""
        self.messages += figures.messages
        self.bytes += figures.bytes
        self.topics += 1


def topic_tree(found: Iterable[TopicFigures], *, depth: int) -> TopicNode:
    """Return the root of topics, with `depth` levels below it; deeper ones count in their last level shown."""
    root = TopicNode("", "")
    for figures in found:
        node = root
        node.add(figures)
        levels = figures.topic.split("/")
        for at, level in enumerate(levels[:depth], 1):
            node = node.children.setdefault(level, TopicNode(level, "/".join(levels[:at])))
            node.add(figures)
    return root
