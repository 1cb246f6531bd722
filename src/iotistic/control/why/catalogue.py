"""All causes by question, the nearest first; other rooms may put theirs before them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iotistic.control.why import limits, offline, rollbacks, updates
from iotistic.control.why.model import Cause
from iotistic.control.why.port import About

BUILT_IN: Mapping[About, tuple[Cause, ...]] = {
    About.OFFLINE: offline.CAUSES,
    About.NOT_UPDATED: updates.CAUSES,
    About.LIMITED: limits.CAUSES,
    About.ROLLED_BACK: rollbacks.CAUSES,
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The causes that are looked for; `more` are those of other rooms, which come first."""

    more: Sequence[Cause] = ()

    def about(self, about: About) -> list[Cause]:
        """Return the causes that answer a question."""
        return [*(cause for cause in self.more if cause.about is about), *BUILT_IN[about]]

    def by_code(self, code: str, about: About) -> Cause | None:
        """Return the cause with a code, of this question if it has one."""
        found = [cause for one in About for cause in self.about(one) if cause.code == code]
        return next((cause for cause in found if cause.about is about), found[0] if found else None)
