from collections.abc import Sequence
from concurrent.futures import Future
from enum import Enum
from logging import Logger

from confluent_kafka import ClusterMetadata, Config

class ResourceType(Enum):
    TOPIC = ...

class ConfigResource:
    name: str
    def __init__(self, restype: ResourceType, name: str) -> None: ...

class ConfigEntry:
    value: str | None

class NewTopic:
    def __init__(
        self,
        topic: str,
        num_partitions: int = ...,
        replication_factor: int = ...,
        *,
        config: dict[str, str] = ...,
    ) -> None: ...

class AdminClient:
    def __init__(self, conf: Config, *, logger: Logger | None = ...) -> None: ...
    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> ClusterMetadata: ...
    def create_topics(
        self, new_topics: Sequence[NewTopic], *, operation_timeout: float = ...
    ) -> dict[str, Future[None]]: ...
    def delete_topics(
        self, topics: Sequence[str], *, operation_timeout: float = ...
    ) -> dict[str, Future[None]]: ...
    def describe_configs(
        self, resources: Sequence[ConfigResource]
    ) -> dict[ConfigResource, Future[dict[str, ConfigEntry]]]: ...
