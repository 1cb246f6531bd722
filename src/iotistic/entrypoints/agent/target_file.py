"""A target state in a file."""

import json
from pathlib import Path

from iotistic.kernel.errors import Invalid
from iotistic.planning.model import Target
from iotistic.planning.target import read_target

_MOST_FAULTS_SHOWN = 50


class TargetInvalid(Invalid):
    """The target state cannot be understood."""

    code = "agent.target_invalid"


def read_file(path: Path) -> Target:
    """Read a target state from a file. Raises TargetInvalid with every fault."""
    try:
        document: object = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise TargetInvalid(f"{path} cannot be read: {exc}") from exc
    target, faults = read_target(document)
    if faults:
        raise TargetInvalid(
            f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}\n  "
            + "\n  ".join(map(str, faults[:_MOST_FAULTS_SHOWN])),
            faults=[fault._asdict() for fault in faults],
        )
    return target


def changed_at(path: Path) -> int | None:
    """Return when a file was changed; None while it is away, as editors have it for a moment."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
