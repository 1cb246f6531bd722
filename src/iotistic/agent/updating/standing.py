"""What outlives the process of an update: which version is to run, what waits, and what is to be told.

A file of its own beside the database, since it is read before anything else and by another version: it may only
grow by fields. What cannot be read is as if it were not there, and then the installed version runs.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from iotistic.kernel.files import write_atomic

TRIES = 2
"""How often a version may be started that has not proved itself."""
_MOST_DONE = 16
_NAME = "standing.json"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A version that runs instead of the installed one."""

    version: str
    base: str
    """The installed version at that time: once somebody installs another by hand, that one runs."""
    mark: str = ""
    update_id: str = ""
    before: str = ""
    """What ran before; empty for the installed one."""
    is_trial: bool = True
    starts: int = 0
    trial_s: int = 300


@dataclass(frozen=True, slots=True)
class Standing:
    """All of it."""

    chosen: Chosen | None = None
    waiting: Mapping[str, Any] | None = None
    """The order that is to be carried out, as it came."""
    done: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """The last word on each of the last orders, by their marks."""
    untold: tuple[Mapping[str, Any], ...] = ()

    def ended(self, mark: str, report: Mapping[str, Any]) -> "Standing":
        """Return it with the last word on an order, which is to be told."""
        done = {**self.done, mark: report}
        kept = dict(list(done.items())[-_MOST_DONE:])
        return replace(self, done=kept, untold=(*self.untold, report)[-_MOST_DONE:])


def load(folder: Path) -> Standing:
    """Return what was kept in a folder."""
    try:
        kept: object = json.loads((folder / _NAME).read_bytes())
        if not isinstance(kept, dict):
            return Standing()
        values = cast("dict[str, Any]", kept)
        chosen = values.get("chosen")
        return Standing(
            None if chosen is None else Chosen(**{name: chosen[name] for name in _KEPT if name in chosen}),
            values.get("waiting"),
            dict(values.get("done") or {}),
            tuple(values.get("untold") or ()),
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return Standing()


def save(folder: Path, standing: Standing) -> None:
    """Keep it over a power cut. Raises OSError."""
    write_atomic(folder / _NAME, json.dumps(asdict(standing)))


_KEPT = tuple(Chosen.__dataclass_fields__)
