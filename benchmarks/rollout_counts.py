"""What the processes of the rollout benchmark count, in files that outlive them: one line a second, the newest counts.

A process that is killed loses the counts of its last second, and those of the one after it are added.
"""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

_EVERY_S = 1.0


async def tell(path: Path, counts: Callable[[], Mapping[str, int]]) -> None:
    """Write counts down until cancelled."""
    with path.open("a", buffering=1) as out:
        while True:
            out.write(json.dumps({"pid": os.getpid(), **counts()}) + "\n")
            await asyncio.sleep(_EVERY_S)


def newest(path: Path) -> Mapping[str, int]:
    """Return what the process that wrote last counted."""
    return _by_process(path)[-1]


def totals(path: Path) -> Counter[str]:
    """Return what all processes that wrote there counted together."""
    found = Counter[str]()
    for told in _by_process(path):
        found.update(told)
    return found


def _by_process(path: Path) -> list[dict[str, int]]:
    """Return the newest counts of each process, those of the newest process last."""
    found: dict[int, dict[str, int]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # what a process wrote when it was killed may be cut short
            told = json.loads(line)
            found[told.pop("pid")] = told
    return list(found.values()) or [{}]
