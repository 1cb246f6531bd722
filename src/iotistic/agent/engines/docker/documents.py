"""Parts of what Docker answers, which writes null where there is nothing."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]


def part(document: Json, *names: str) -> Json:
    """Return an object within a document, an empty one where there is none."""
    for name in names:
        document = document.get(name) or {}
    return document


def entries(document: Json, name: str) -> list[Any]:
    """Return a list within a document, an empty one where there is none."""
    return document.get(name) or []
