"""Which fields of a report go out: those that the cloud does not know yet.

What is not mentioned stays as it was in the cloud, so a field that did not change costs nothing. What counts
as known is what was acknowledged; a report that was lost is simply said again with the next.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

ALWAYS = ("is_online", "version")


class Delta(NamedTuple):
    """A report to send, and what the cloud knows once it has acknowledged it."""

    fields: dict[str, Any]
    known: Mapping[str, str]
    age: int = 0


class Deltas:
    """What the cloud was told."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._known = dict(known or {})
        self._age = 0

    @property
    def known(self) -> Mapping[str, str]:
        """Digests of the fields as the cloud has them; to be kept over a restart."""
        return dict(self._known)

    def next(self, state: Mapping[str, Any]) -> Delta | None:
        """Return what is to be told of a state; None when the cloud knows all of it."""
        digests = {name: digest(value) for name, value in state.items()}
        changed = {name for name, found in digests.items() if self._known.get(name) != found}
        if not changed:
            return None
        fields = {name: value for name, value in state.items() if name in changed or name in ALWAYS}
        return Delta(fields, {name: digests[name] for name in fields}, self._age)

    def acknowledged(self, delta: Delta) -> None:
        """Note that the cloud has a report; one from before everything was forgotten proves nothing."""
        if delta.age == self._age:
            self._known.update(delta.known)

    def forget(self) -> None:
        """Tell everything again: the cloud lost what it knew, or is another one."""
        self._known.clear()
        self._age += 1


def digest(value: object) -> str:
    """Return a short name of a value, the same for equal values."""
    written = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()[:16]
