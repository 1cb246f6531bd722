"""What one start remembers for the next: the ports it took and how many ingest workers it had."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from iotistic.kernel.files import write_atomic
from iotistic.kernel.home import Home


@dataclass(frozen=True)
class Memory:
    """`ports` by name; `workers`: ingest workers whose sessions the broker keeps."""

    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    workers: int = 0


def _path(home: Home) -> Path:
    return home.path / "up.json"


def recall(home: Home) -> Memory:
    """Return what the last start left; nothing, when there was none or its note is damaged."""
    try:
        return TypeAdapter(Memory).validate_json(_path(home).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Memory()


def remember(home: Home, memory: Memory) -> None:
    """Keep `memory` for the next start."""
    write_atomic(_path(home), json.dumps(asdict(memory)) + "\n")
