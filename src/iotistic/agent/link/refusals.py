"""Topics that the broker does not take messages on now: they are tried again, one message first, later each time.

A topic is refused (no right, a quota) or unheard (nobody subscribes, so the broker would throw messages away).
Pure: times and chance are told.
"""

from dataclasses import dataclass

from iotistic.agent.link.pacing import Pace

_PROBED_FOR_S = 60.0
_MOST_TOPICS = 1000


@dataclass
class _Refused:
    pace: Pace
    at: float
    is_tried: bool = True


class Refusals:
    """What is put off, by topic."""

    def __init__(self) -> None:
        self._topics: dict[str, _Refused] = {}

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def next_at(self) -> float | None:
        """When a topic may be tried again; None when nothing is put off."""
        return min((one.at for one in self._topics.values()), default=None)

    def may_send(self, topic: str, now: float) -> bool:
        """Say whether a message may go out; one that tries a topic again keeps others back until it is answered."""
        one = self._topics.get(topic)
        if one is None:
            return True
        if now < one.at:
            return False
        one.at, one.is_tried = now + _PROBED_FOR_S, True
        return True

    def refused(self, topic: str, now: float, chance: float) -> bool:
        """Note a refusal; tell whether it is the first. Of many that were under way together, one counts."""
        one = self._topics.get(topic)
        is_first = one is None
        if one is None:
            if len(self._topics) >= _MOST_TOPICS:
                self._topics.pop(next(iter(self._topics)))
            one = self._topics.setdefault(topic, _Refused(Pace(topic, 0), now))
        if one.is_tried:
            one.at, one.is_tried = one.pace.failed(now, chance), False
        return is_first

    def accepted(self, topic: str) -> bool:
        """Note that the broker took a message; tell whether the topic was put off."""
        return self._topics.pop(topic, None) is not None
