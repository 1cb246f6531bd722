"""What a report says of an update: whether the device is there, what is wrong with it, what it took. Pure.

The field `update` of a report ({version, settled, steps, failed, crashes, downtime_s, seconds}) makes that exact.
A device that does not send it is judged by its containers: another one in the place of each that was to be
replaced, with the right image, running.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from iotistic.control.rollouts.durations import Sample
from iotistic.control.rollouts.judging import Observation
from iotistic.control.rollouts.model import Part, PartState
from iotistic.control.rollouts.policy import HealthRules
from iotistic.control.rollouts.rebuilding import ReportedService, written
from iotistic.planning.images import are_same, canonical
from iotistic.planning.model import Service, ServiceState, Target

_PULLS = frozenset({"ErrImagePull", "ImagePullBackOff"})
_MOST_SAMPLES = 64
_LONGEST_S = 86_400.0
_SAMPLE_WORDS = 3


@dataclass(frozen=True, slots=True)
class Told:
    """What a device told last."""

    version: int | None = None
    reported_at: datetime | None = None
    services: tuple[ReportedService, ...] = ()
    update: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def update_of(self, version: int | None) -> Mapping[str, Any]:
        """Return what it told of the update to a version, empty when it told nothing of it."""
        return self.update if version is not None and self.update.get("version") == version else {}


def observe(
    part: Part, told: Told, *, in_force: int, target: Target, rules: HealthRules, others: str = ""
) -> Observation:
    """Return what is known of a device now; `others` is what somebody else says is wrong with it."""
    expected = part.back_version if part.state is PartState.ROLLING_BACK else part.to_version
    took_it = told.version == expected
    return Observation(
        in_force=in_force,
        version=told.version,
        reported_at=told.reported_at,
        settled=took_it and is_settled(target, told, part),
        trouble=(trouble(part, told, rules) if took_it else "") or others,
    )


def is_settled(target: Target, told: Told, part: Part) -> bool:
    """Say whether a device is what its target says."""
    wanted = {service.key: service for app in target.apps for service in app.services}
    known = frozenset(wanted)
    reported: dict[Any, list[ReportedService]] = {}
    for one in told.services:
        reported.setdefault(one.key, []).append(one)
    # What was broken before, and is not to be replaced, is nothing to wait for.
    broken = cast("Mapping[str, str]", part.baseline.get("errors") or {})
    replaced = cast("Iterable[str]", part.baseline.get("replaced") or ())
    excused = frozenset(broken) - frozenset(replaced)
    wanted = {key: service for key, service in wanted.items() if written(key) not in excused}
    leaving = [one for one in told.services if one.key not in known and one.status]
    if leaving or not all(_is_as_wanted(service, reported.get(key, [])) for key, service in wanted.items()):
        return False
    if update := told.update_of(told.version):
        return update.get("settled") is True
    return part.state is PartState.ROLLING_BACK or _are_replaced(part, told)


def _is_as_wanted(service: Service, found: list[ReportedService]) -> bool:
    if service.state is ServiceState.STOPPED:
        return not any(one.status in ("running", "paused", "restarting") for one in found)
    if len(found) != 1 or found[0].error or not are_same(found[0].image, service.config.image):
        return False
    if service.state is ServiceState.PAUSED:
        return found[0].status == "paused"
    return found[0].service_status == "running" or found[0].status in ("running", "exited")


def _are_replaced(part: Part, told: Told) -> bool:
    before = cast("Mapping[str, str]", part.baseline.get("containers") or {})
    replaced = cast("Iterable[str]", part.baseline.get("replaced") or ())
    now = {one.written_key: one.container_id for one in told.services}
    return all(now.get(key) and now[key] != before.get(key) for key in replaced)


def trouble(part: Part, told: Told, rules: HealthRules) -> str:
    """Return what is wrong with a device that works on the new target, empty when nothing is."""
    known = cast("Mapping[str, str]", part.baseline.get("errors") or {})
    replaced = frozenset(cast("Iterable[str]", part.baseline.get("replaced") or ()))
    for one in told.services:
        is_old_news = known.get(one.written_key) == one.error and one.written_key not in replaced
        if one.error and not is_old_news and one.retries >= _enough(one.error, rules):
            what = f"service {one.name}: {one.error}, {one.retries} times"
            return f"{what} ({one.message})" if one.message else what
    crashes = told.update_of(told.version).get("crashes")
    for key, count in (cast("Mapping[str, Any]", crashes if isinstance(crashes, Mapping) else {})).items():
        if isinstance(count, int) and count >= rules.crashes:
            return f"service {key} ended {count} times by itself"
    return ""


def _enough(error: str, rules: HealthRules) -> int:
    if error in _PULLS:
        return rules.failed_fetches
    return rules.failed_starts if error == "StartFailure" else rules.crashes


def baseline(services: Iterable[ReportedService], replaced: Iterable[str]) -> dict[str, Any]:
    """Return what a device was like before: what was wrong then is not the rollout's doing."""
    listed = list(services)
    return {
        "errors": {one.written_key: one.error for one in listed if one.error},
        "containers": {one.written_key: one.container_id for one in listed if one.container_id},
        "replaced": sorted(replaced),
    }


def is_failing_anew(
    services: Iterable[ReportedService], before: Mapping[str, Any], rules: HealthRules
) -> bool:
    """Say whether a device that waits began to fail by itself."""
    known = cast("Mapping[str, str]", before.get("errors") or {})
    return any(
        one.error and one.written_key not in known and one.retries >= _enough(one.error, rules)
        for one in services
    )


def actual_of(told: Told, part: Part) -> dict[str, Any]:
    """Return what an update took, as the device told it; empty when it did not."""
    update = told.update_of(part.to_version)
    if not update:
        return {}
    steps, downtime = update.get("steps"), update.get("downtime_s")
    return {
        "steps": steps if isinstance(steps, Mapping) else {},
        "downtimeS": downtime if isinstance(downtime, Mapping) else {},
        "seconds": [list(one) for one in samples_of(told, part)],
        "complete": update.get("complete") is not False,
    }


def samples_of(told: Told, part: Part) -> list[Sample]:
    """Return how long steps took, as the device told it; garbage is left out."""
    return read_samples(told.update_of(part.to_version).get("seconds"))


def read_samples(listed: object) -> list[Sample]:
    """Return samples from `[[step, topic, seconds], …]`; garbage is left out."""
    found: list[Sample] = []
    for entry in cast("list[Any]", listed if isinstance(listed, list) else [])[:_MOST_SAMPLES]:
        if not isinstance(entry, list) or len(cast("list[Any]", entry)) != _SAMPLE_WORDS:
            continue
        name, topic, seconds = cast("tuple[Any, Any, Any]", entry)
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if isinstance(name, str) and isinstance(topic, str) and is_number and 0 <= seconds <= _LONGEST_S:
            found.append(Sample(name[:32], canonical(topic)[:512] if topic else "", float(seconds)))
    return found


__all__ = [
    "Told",
    "actual_of",
    "baseline",
    "is_failing_anew",
    "is_settled",
    "observe",
    "read_samples",
    "samples_of",
    "written",
]
