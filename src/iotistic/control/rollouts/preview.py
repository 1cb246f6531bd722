"""What a change would do to each device of a fleet.

Devices that are the same and have the same target get the same answer, so each distinct pair is planned once;
that is work of the processor and belongs into a thread. Nothing is asked of devices: they are rebuilt from what
they reported.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from iotistic.control.rollouts.changes import Change
from iotistic.control.rollouts.durations import AVERAGE, Durations, Pace
from iotistic.control.rollouts.predicting import Prediction, predict
from iotistic.control.rollouts.reading import Known, KnownDevice
from iotistic.control.rollouts.rebuilding import Rebuilt, rebuild
from iotistic.control.rollouts.spread import Spread
from iotistic.control.states.model import checked, make_target
from iotistic.kernel.errors import IotisticError
from iotistic.planning.model import Target
from iotistic.planning.target import read_target

_NO_TARGET: dict[str, Any] = {"apps": {}, "config": {}}


class Outcome(StrEnum):
    """What is to be expected of a device."""

    READY = "ready"
    WAITS = "waits"
    """It will do it, but not now: it is offline, or an app holds its lock."""
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Note:
    """Why a device refuses, or what is to be known."""

    code: str
    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """What a change does to one device. `plan` names its prediction, which others may share."""

    uuid: UUID
    name: str
    outcome: Outcome
    from_version: int | None
    plan: str | None = None
    refusal: Note | None = None
    notes: tuple[Note, ...] = ()
    supersedes: UUID | None = None
    pace: Pace = AVERAGE
    expected: Prediction | None = None
    """The same steps at the pace of this device."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What a change does to all of them."""

    devices: tuple[DevicePlan, ...]
    predictions: Mapping[str, Prediction]
    bytes_to_fetch: Mapping[str, int | None]
    spread: Spread | None = None

    def prediction(self, device: DevicePlan) -> Prediction | None:
        """Return what will happen on a device."""
        return None if device.plan is None else self.predictions[device.plan]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A target after the change, or why there is none."""

    digest: str = ""
    target: Target | None = None
    refusal: Note | None = None
    unchanged: bool = False


class FleetPlanner:
    """Plans a change over devices; made for one preview, used in one thread."""

    def __init__(
        self, change: Change, durations: Durations, now: datetime, *, offline_after_s: float
    ) -> None:
        self._change, self._durations, self._now = change, durations, now
        self._offline_after = timedelta(seconds=offline_after_s)
        self._wanted: dict[str, _Wanted] = {}
        self._targets: dict[str, Target] = {}
        self._digests: dict[str, str] = {}
        self._plans: dict[str, tuple[Prediction, tuple[str, ...]]] = {}
        self._paced: dict[tuple[str, Pace], Prediction] = {}
        self._spread: Spread | None = None
        self._images: set[str] = set()

    def plan(self, known: Known) -> FleetPlan:
        """Return what becomes of each device."""
        usual = self._durations.usual_pace(one.took for one in known.devices)
        self._durations = replace(self._durations, pace=usual)
        devices = tuple(self._device(one, known.contents) for one in known.devices)
        predictions = {name: prediction for name, (prediction, _) in self._plans.items()}
        sizes = {name: self._durations.bytes_of(one.fetches) for name, one in predictions.items()}
        return FleetPlan(devices, predictions, sizes, self._spread)

    def images(self, known: Known) -> frozenset[str]:
        """Return the images of all targets after the change: their sizes are worth asking for."""
        for one in known.devices:
            if one.etag is not None and one.etag in known.contents:
                wanted = self._after(one.etag, known.contents)
                apps = wanted.target.apps if wanted.target else ()
                self._images |= {service.config.image for app in apps for service in app.services}
        return frozenset(self._images)

    def with_durations(self, durations: Durations, spread: Spread | None = None) -> "FleetPlanner":
        """Reckon with other durations from here on."""
        self._durations, self._spread = durations, spread
        return self

    def _device(self, one: KnownDevice, contents: Mapping[str, dict[str, Any]]) -> DevicePlan:
        if (refusal := self._refused_at_once(one, contents)) is not None:
            return self._refused(one, refusal)
        wanted = self._after(one.etag or "", contents)
        if wanted.unchanged:
            reason = "it has this target already"
            note = Note("rollout.already_there", reason)
            return DevicePlan(one.uuid, one.name, Outcome.UNCHANGED, one.in_force, refusal=note)
        if wanted.refusal is not None or wanted.target is None:
            return self._refused(one, wanted.refusal or Note("rollout.invalid", "it has no target"))
        name = self._planned(one, wanted.digest, wanted.target, contents)
        prediction, guessed = self._plans[name]
        if (refusal := self._refused_by_device(one, wanted.target, prediction)) is not None:
            return self._refused(one, refusal, name)
        notes = tuple(self._notes(one, prediction, guessed))
        waits = any(note.code in _WAITING_FOR for note in notes)
        pace = self._durations.pace_of(one.took, otherwise=self._durations.pace)
        return DevicePlan(
            one.uuid,
            one.name,
            Outcome.WAITS if waits else Outcome.READY,
            one.in_force,
            name,
            notes=notes,
            supersedes=one.active_in,
            pace=pace,
            expected=self._at_pace(name, pace, one, wanted.target, contents),
        )

    def _at_pace(
        self,
        name: str,
        pace: Pace,
        one: KnownDevice,
        target: Target,
        contents: Mapping[str, dict[str, Any]],
    ) -> Prediction:
        """Return a plan in the time that devices of a pace take for it; devices of one pace share it."""
        if pace == self._durations.pace:
            return self._plans[name][0]
        if (name, pace) not in self._paced:
            was = one.was_etag if one.was_etag in contents else one.etag
            device = self._rebuilt(one, self._target(was or "", contents))
            self._paced[name, pace] = predict(device, target, replace(self._durations, pace=pace))
        return self._paced[name, pace]

    def _refused(self, one: KnownDevice, why: Note, plan: str | None = None) -> DevicePlan:
        return DevicePlan(one.uuid, one.name, Outcome.REFUSED, one.in_force, plan, refusal=why)

    def _refused_at_once(self, one: KnownDevice, contents: Mapping[str, dict[str, Any]]) -> Note | None:
        if not one.is_active:
            return Note("device.inactive", "it was switched off by an operator")
        if one.etag is None or one.etag not in contents:
            return Note("rollout.no_target", "nobody has given it a target yet")
        if one.drafted:
            reason = "a target was set for it and waits: deploy or cancel that first"
            return Note("rollout.draft_waits", reason)
        return None

    def _refused_by_device(self, one: KnownDevice, target: Target, prediction: Prediction) -> Note | None:
        if one.host.engine == "k3s" and (what := _not_on_k3s(target)):
            return Note("rollout.engine_refuses", f"its engine is k3s, which has no {what}")
        needed = self._durations.bytes_of(prediction.fetches)
        if needed is not None and one.disk_free is not None and needed > one.disk_free:
            reason = f"{needed} bytes are to be fetched and {one.disk_free} are free"
            return Note("rollout.disk_too_small", reason, {"needed": needed, "free": one.disk_free})
        return None

    def _notes(self, one: KnownDevice, prediction: Prediction, guessed: tuple[str, ...]) -> list[Note]:
        notes: list[Note] = []
        reported_at = one.told.reported_at
        if reported_at is None:
            notes.append(Note("rollout.never_reported", "it has never reported: what it runs is not known"))
        elif self._now - reported_at > self._offline_after:
            silent_s = round((self._now - reported_at).total_seconds())
            notes.append(Note("rollout.device_offline", f"it was last heard {silent_s} s ago"))
        if locked := sorted(prediction.disturbed & one.host.locked):
            notes.append(Note("rollout.app_locked", f"holds its lock: app {', '.join(locked)}"))
        elif not prediction.settles:
            what = "; ".join(prediction.waits) or "the plan does not come to an end"
            code = "rollout.app_locked" if one.host.locked else "rollout.will_not_settle"
            notes.append(Note(code, what))
        if one.host.disk_is_full and prediction.fetches:
            notes.append(Note("rollout.disk_is_full", "its disk is past the watermark"))
        if guessed:
            notes.append(Note("rollout.guessed", f"nobody knows how these were made: {', '.join(guessed)}"))
        return notes

    def _after(self, etag: str, contents: Mapping[str, dict[str, Any]]) -> _Wanted:
        digest = self._digest(etag, contents)
        if digest not in self._wanted:
            self._wanted[digest] = self._apply(contents[etag], digest)
        return self._wanted[digest]

    def _apply(self, content: Mapping[str, Any], digest: str) -> _Wanted:
        try:
            new = checked(self._change.apply(content))
            make_target(new, version=1, at=self._now, by="")
        except IotisticError as exc:
            return _Wanted(refusal=Note(exc.code, exc.message, exc.fields))
        found = _digest(new)
        return _Wanted(found, read_target(new).target, unchanged=found == digest)

    def _digest(self, etag: str, contents: Mapping[str, dict[str, Any]]) -> str:
        if etag not in self._digests:
            self._digests[etag] = _digest(contents[etag])
        return self._digests[etag]

    def _planned(
        self, one: KnownDevice, wanted: str, target: Target, contents: Mapping[str, dict[str, Any]]
    ) -> str:
        """Return the name of the prediction for devices like this one."""
        was = one.was_etag if one.was_etag in contents else one.etag
        shapes = [service.shape() for service in one.told.services]
        host = (one.host.shares_ports, one.host.disk_is_full, sorted(one.host.locked))
        kept = (
            None if one.host.images is None else sorted(one.host.images),
            None if one.host.good is None else sorted(one.host.good.items()),
        )
        like = [self._digest(was or "", contents), wanted, shapes, host, kept]
        name = hashlib.sha256(json.dumps(like).encode()).hexdigest()[:16]
        if name not in self._plans:
            device = self._rebuilt(one, self._target(was or "", contents))
            self._plans[name] = predict(device, target, self._durations), device.guessed
        return name

    def _rebuilt(self, one: KnownDevice, was: Target) -> Rebuilt:
        return rebuild(one.told.services, was, one.host, now=self._now.timestamp())

    def _target(self, etag: str, contents: Mapping[str, dict[str, Any]]) -> Target:
        digest = self._digest(etag, contents)
        if digest not in self._targets:
            self._targets[digest] = read_target(contents.get(etag, _NO_TARGET)).target
        return self._targets[digest]


_WAITING_FOR = frozenset(
    {"rollout.never_reported", "rollout.device_offline", "rollout.app_locked", "rollout.will_not_settle"}
)


def _not_on_k3s(target: Target) -> str:
    for app in target.apps:
        for service in app.services:
            probes = service.config.probes
            if service.config.network_mode == "none":
                return f"networkMode none (service {service.name})"
            asked = (probes.startup, probes.liveness, probes.readiness)
            if any(one is not None and one.expected_status for one in asked):
                return f"expectedStatus of probes (service {service.name})"
    return ""


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[
        :32
    ]
