"""/mqtt/metrics, /mqtt/health, /mqtt/topics: what goes over the broker, from samples."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, StringConstraints

from iotistic.control.access.model import Permission
from iotistic.control.access.rules import requires
from iotistic.control.broker.sampling import BrokerHealth
from iotistic.control.broker.service import utc_now
from iotistic.control.broker.traffic import TopicFigures, TrafficStore
from iotistic.control.broker.tree import TopicNode, topic_tree
from iotistic.kernel.errors import NotFound

_READER = requires(Permission.DATA_READ)
_Topic = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
_MOST = 1000
_MOST_IN_TREE = 100_000
_FRESH_S = 300.0


class TopicUnknown(NotFound):
    """No message to this topic was seen."""

    code = "mqtt.topic_unknown"


class TopicRow(BaseModel):
    """Estimates of one topic since it was first seen."""

    topic: str
    messages: float
    bytes: float
    last_payload_bytes: int
    samples: int
    first_seen_at: datetime
    last_seen_at: datetime

    @classmethod
    def of(cls, found: TopicFigures) -> "TopicRow":
        """Show a topic."""
        return cls.model_validate(found, from_attributes=True)


class TopicPage(BaseModel):
    """Topics by name; `next` is what `after` is to be for those that follow."""

    topics: list[TopicRow]
    next: str | None


class TreeNode(BaseModel):
    """A level of the tree, with everything below it."""

    name: str
    topic: str
    messages: float
    bytes: float
    topics: int
    children: list["TreeNode"]

    @classmethod
    def of(cls, node: TopicNode) -> "TreeNode":
        """Show a level."""
        return cls(
            name=node.name,
            topic=node.topic,
            messages=node.messages,
            bytes=node.bytes,
            topics=node.topics,
            children=[cls.of(child) for _name, child in sorted(node.children.items())],
        )


class SchemaRow(BaseModel):
    """The JSON Schema of a topic's payloads, null while none was JSON."""

    topic: str
    json_schema: dict[str, Any] | None
    changed_at: datetime | None


class FiguresRow(BaseModel):
    """The broker's own figures at one time, by their names below $SYS/broker."""

    at: datetime
    figures: dict[str, float | str]


class HealthRow(BaseModel):
    """How the broker does: `status` is ok, or stale when no figures came for five minutes."""

    status: str
    at: datetime | None = None
    connected_clients: float | None = None
    subscriptions: float | None = None
    retained_messages: float | None = None
    messages_received: float | None = None
    messages_sent: float | None = None
    bytes_received: float | None = None
    bytes_sent: float | None = None
    messages_dropped: float | None = None
    uptime_s: float | None = None
    version: str = ""


def mqtt_traffic_router(store: TrafficStore) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/mqtt", tags=["broker traffic"], dependencies=[_READER])

    @router.get("/metrics")
    async def list_mqtt_figures(
        since: datetime | None = None, limit: Annotated[int, Query(ge=1, le=_MOST)] = 60
    ) -> list[FiguresRow]:
        """The broker's own figures, the newest first."""
        found = await store.figures(since=since, limit=limit)
        return [FiguresRow(at=one.at, figures=one.figures) for one in found]

    @router.get("/health")
    async def show_mqtt_health() -> HealthRow:
        """How the broker does, from the newest figures."""
        found = await store.figures(since=None, limit=1)
        if not found:
            return HealthRow(status="stale")
        age_s = (utc_now() - found[0].at).total_seconds()
        health = BrokerHealth.of(found[0].figures)
        values = {name: getattr(health, name) for name in HealthRow.model_fields if hasattr(health, name)}
        return HealthRow(status="ok" if age_s <= _FRESH_S else "stale", at=found[0].at, **values)

    @router.get("/topics")
    async def list_mqtt_topics(
        prefix: _Topic = "", after: _Topic = "", limit: Annotated[int, Query(ge=1, le=_MOST)] = 100
    ) -> TopicPage:
        """Topics by name, below a prefix of whole levels."""
        found = await store.topics(prefix=prefix, after=after, limit=limit)
        is_full = len(found) == limit
        return TopicPage(
            topics=[TopicRow.of(one) for one in found], next=found[-1].topic if found and is_full else None
        )

    @router.get("/topics/tree")
    async def show_mqtt_tree(prefix: _Topic = "", depth: Annotated[int, Query(ge=1, le=16)] = 4) -> TreeNode:
        """Topics as a tree of their levels."""
        found = await store.topics(prefix=prefix, after="", limit=_MOST_IN_TREE)
        return TreeNode.of(topic_tree(found, depth=depth))

    @router.get("/topics/schema")
    async def show_mqtt_schema(topic: _Topic) -> SchemaRow:
        """The schema of a topic's payloads, as far as they were seen."""
        found = await store.schema(topic)
        if found is None:
            raise TopicUnknown(topic=topic, hint="see /mqtt/topics; samples see a part of the time")
        return SchemaRow(topic=topic, json_schema=found.schema, changed_at=found.changed_at)

    _ = list_mqtt_figures, show_mqtt_health, list_mqtt_topics, show_mqtt_tree, show_mqtt_schema
    return router
