"""The judgement of log lines: which patterns match, and what their times say. Pure; see `evaluate`.

Lines are taken in the order in which their source gives them; one that says an earlier time than its
predecessor counts as of that one's.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from iotistic.control.alerts.conditions import LogCondition, LogSequence, Pattern, patterns_of
from iotistic.control.alerts.evaluate import NEVER, SECOND_US, Change, Phase, SeriesState, Transition

JUDGED_CHARACTERS = 500
"""A regular expression sees this much of a line; see `conditions.MOST_UNBOUNDED`."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a service of a device wrote."""

    device_uuid: str
    at_us: int
    message: str
    service: str = ""
    level: str = ""


class _Memory(msgspec.Struct, frozen=True, array_like=True):
    times: list[int]
    """Of a count: its last matches. Of a sequence: when the best start of each step began."""
    ends_us: int = 0
    """When it is over if nothing more comes."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Memory)


class Matcher:
    """The patterns of a condition, ready for lines."""

    def __init__(self, condition: LogCondition) -> None:
        self._condition = condition
        self._tests = [_test(pattern) for pattern in patterns_of(condition)]

    def concerns(self, line: LogLine) -> bool:
        """Say whether a line is of the service and level that are meant."""
        wanted = self._condition
        return (wanted.service in (None, line.service)) and (wanted.level in (None, line.level))

    def steps(self, line: LogLine) -> list[bool]:
        """Return which patterns match."""
        return [test(line.message) for test in self._tests]


def _test(pattern: Pattern) -> Callable[[str], bool]:
    match pattern.kind:
        case "exact":
            return pattern.text.__eq__
        case "keyword":
            return partial(_holds, pattern.text.casefold())
        case "regex":
            return partial(_matches, re.compile(pattern.text))


def _holds(wanted: str, message: str) -> bool:
    return wanted in message.casefold()


def _matches(compiled: re.Pattern[str], message: str) -> bool:
    return compiled.search(message[:JUDGED_CHARACTERS]) is not None


def evaluate_lines(
    condition: LogCondition,
    state: SeriesState,
    lines: Sequence[tuple[int, Sequence[bool]]],
    until_us: int,
) -> tuple[SeriesState, list[Transition]]:
    """Judge the lines of one device: time and which patterns match, of each. Returns as `evaluate` does."""
    judge = _Judge(condition, state)
    for at_us, steps in lines:
        at = max(at_us, judge.last_us)
        judge.pass_time(at)
        judge.take(at, steps)
    judge.pass_time(until_us)
    return judge.state(), judge.found


class _Judge:
    def __init__(self, condition: LogCondition, state: SeriesState) -> None:
        self._condition = condition
        self._memory = _decoder.decode(state.memory) if state.memory else _Memory([])
        self._phase, self._since = state.phase, state.since_us
        self._times, self._ends_us = list(self._memory.times), self._memory.ends_us
        self.last_us = state.last_us
        self.found: list[Transition] = []
        if isinstance(condition, LogSequence):
            self._window_us = round(condition.within_s * SECOND_US)
            self._wanted = len(condition.steps)
            self._times = self._times or [NEVER] * self._wanted
        else:
            seconds = condition.quiet_s if condition.type == "log_pattern" else condition.window_s
            self._window_us = round(seconds * SECOND_US)
            self._wanted = 1 if condition.type == "log_pattern" else condition.count

    def pass_time(self, now_us: int) -> None:
        """End what is over by now."""
        if self._phase is Phase.FIRING and now_us > self._ends_us:
            self.found.append(Transition(Change.RESOLVED, self._ends_us, self._since))
            self._phase = Phase.CLEAR

    def take(self, at: int, steps: Sequence[bool]) -> None:
        """Take one line in."""
        self.last_us = at
        since = (
            self._in_order(at, steps) if isinstance(self._condition, LogSequence) else self._often(at, steps)
        )
        if since is None:
            return
        if self._phase is Phase.CLEAR:
            self._phase, self._since = Phase.FIRING, since
            self.found.append(Transition(Change.FIRING, at, since))

    def _often(self, at: int, steps: Sequence[bool]) -> int | None:
        if not steps[0]:
            return None
        self._times = [*self._times, at][-self._wanted :]
        if len(self._times) < self._wanted or at - self._times[0] > self._window_us:
            return None
        self._ends_us = self._times[0] + self._window_us
        return self._times[0]

    def _in_order(self, at: int, steps: Sequence[bool]) -> int | None:
        complete: int | None = None
        # From the last step to the first: one line is one step.
        for place in range(self._wanted - 1, -1, -1):
            if not steps[place]:
                continue
            start = at if place == 0 else self._times[place - 1]
            if start == NEVER or at - start > self._window_us:
                continue
            self._times[place] = start
            if place == self._wanted - 1:
                complete, self._ends_us = start, at + self._window_us
        return complete

    def state(self) -> SeriesState:
        """Return what is known now."""
        memory = (
            _encoder.encode(_Memory(self._times, self._ends_us))
            if any(time != NEVER for time in self._times)
            else b""
        )
        since = self._since if self._phase is Phase.FIRING else 0
        return SeriesState(self._phase, since, self.last_us, memory)
