"""What a plan depends on besides the device and its target: the time, what failed, who holds a lock."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from iotistic.planning.model import Failures, Release, ServiceConfig, ServiceKey
from iotistic.planning.steps import Action, Start

_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 300.0
_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class Facts:
    """Gathered by whoever executes plans; kept over restarts, and forgotten when the target changes."""

    now: float = 0
    """Seconds since 1970."""
    failures: Mapping[Action, Failures] = field(default_factory=dict[Action, Failures])
    """Steps that failed since they last succeeded."""
    crashes: Mapping[Release, Failures] = field(default_factory=dict[Release, Failures])
    """Containers that ended by themselves or failed their liveness probe, since they last ran for long."""
    last_good: Mapping[ServiceKey, ServiceConfig] = field(default_factory=dict[ServiceKey, ServiceConfig])
    """The configuration of each service that last ran for long."""
    locked: frozenset[str] = frozenset()
    """Apps that hold their own lock: they do not want to be disturbed."""
    held: frozenset[str] = frozenset()
    """Apps whose lock we hold."""
    fetched: frozenset[str] = frozenset()
    """Images that we fetched: others are not ours to remove."""
    disk_is_full: bool = False
    """Whether more of the disk is used than the watermark."""
    purged_at: Mapping[str, float] = field(default_factory=dict[str, float])
    """Apps whose volumes are to be removed, and when that was asked for: younger volumes stay."""
    shares_ports: bool = False
    """Whether the engine can run two containers that offer one port of the device."""

    def starts_failed(self, release: Release) -> int:
        """Return how often a container of this release could not be made or started."""
        return sum(
            failed.count
            for step, failed in self.failures.items()
            if isinstance(step, Start) and (step.service.key, step.service.config) == release
        )


def pause_s(count: int) -> float:
    """Return how long to wait after so many failures in a row: 10, 20, 40, 80, 160, then 300 seconds."""
    return min(_FIRST_PAUSE_S * 2 ** min(count - 1, _DOUBLINGS), _LONGEST_PAUSE_S)


def again_at(failures: Failures) -> float:
    """Return when something that failed may be tried again, in seconds since 1970."""
    return failures.at + pause_s(failures.count)


def is_put_off(failures: Failures, now: float) -> bool:
    """Say whether it is too early to try again; what failed in the future failed by a clock that was wrong."""
    return failures.at <= now < again_at(failures)
