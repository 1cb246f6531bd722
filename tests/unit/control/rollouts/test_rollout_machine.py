"""Any rollout, whatever devices and people do: every part ends, nothing is skipped, nobody is begun with after a stop."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from iotistic.control.rollouts.judging import Observation, Progress, judge_part, judge_rollout
from iotistic.control.rollouts.model import (
    ACTIVE,
    BAD,
    TOUCHED,
    Counts,
    Part,
    PartState,
    RolloutState,
    may_become,
    may_move,
)
from iotistic.control.rollouts.policy import OnHalt, Policy, assign_waves

START = datetime(2026, 3, 1, tzinfo=UTC)


class RolloutMachine(RuleBasedStateMachine):
    """The loop in memory: the same judgements on the same facts, the rows being a dict."""

    @initialize(
        devices=st.integers(1, 30),
        on_halt=st.sampled_from(OnHalt),
        rate=st.none() | st.integers(1, 5),
        watch_s=st.sampled_from([0.0, 30.0]),
    )
    def make(self, devices, on_halt, rate, watch_s):
        self.now = START
        self.policy = Policy(
            waves=(10, 50, 100),
            rate_per_minute=rate,
            watch_s=watch_s,
            update_within_s=300,
            ends_after_s=3600,
            on_halt=on_halt,
        )
        self.state, self.wave, self.forgiven = RolloutState.RUNNING, 0, 0
        self.expires_at = START + timedelta(hours=1)
        uuids = [UUID(int=number) for number in range(devices)]
        waves = assign_waves(uuids, self.policy.waves, "salt")
        self.parts = {
            uuid: Part(
                device_uuid=uuid, wave=wave, state=PartState.WAITING, deadline=self.expires_at, from_version=1
            )
            for uuid, wave in waves.items()
        }
        self.in_force = dict.fromkeys(uuids, 1)
        self.told = {uuid: Observation(in_force=1) for uuid in uuids}
        self.stopped_begins = 0

    def counts(self):
        found = {}
        for part in self.parts.values():
            found[part.wave, part.state] = found.get((part.wave, part.state), 0) + 1
        return Counts(found)

    def move(self, part, state, **changes):
        assert may_move(part.state, state), (part.state, state)
        if state not in ACTIVE:
            changes.setdefault("ended_at", self.now)
        self.parts[part.device_uuid] = replace(part, state=state, **changes)

    def become(self, state):
        assert may_become(self.state, state), (self.state, state)
        self.state = state

    @rule(seconds=st.sampled_from([1, 10, 60, 400]))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)
        self.look()

    @rule(number=st.integers(0, 29), settled=st.booleans(), fails=st.booleans())
    def device_reports(self, number, settled, fails):
        uuid = UUID(int=number % len(self.parts))
        self.told[uuid] = Observation(
            in_force=self.in_force[uuid],
            version=self.in_force[uuid],
            reported_at=self.now,
            settled=settled and not fails,
            trouble="it crashes" if fails else "",
        )
        self.look()

    @rule(number=st.integers(0, 29))
    def somebody_sets_another_target(self, number):
        self.in_force[UUID(int=number % len(self.parts))] += 100
        self.look()

    @rule(state=st.sampled_from([RolloutState.PAUSED, RolloutState.RUNNING, RolloutState.CANCELLING]))
    def somebody_steers(self, state):
        if may_become(self.state, state):
            self.forgiven = self.counts().of(*BAD) if state is RolloutState.RUNNING else self.forgiven
            self.become(state)
        self.look()

    @rule()
    @precondition(lambda self: self.counts().of(*TOUCHED))
    def somebody_rolls_back(self):
        if may_become(self.state, RolloutState.ROLLING_BACK):
            self.become(RolloutState.ROLLING_BACK)
        self.look()

    def look(self):
        for part in list(self.parts.values()):
            seen = replace(self.told[part.device_uuid], in_force=self.in_force[part.device_uuid])
            if part.state is PartState.SUCCEEDED and seen.in_force != part.to_version:
                continue
            move = judge_part(part, seen, self.policy, self.now)
            if move is not None:
                self.move(part, move.state, deadline=move.deadline or part.deadline)
        counts = self.counts()
        lately = self.now - timedelta(minutes=1)
        verdict = judge_rollout(
            Progress(
                state=self.state,
                wave=self.wave,
                counts=counts,
                expires_at=self.expires_at,
                forgiven=self.forgiven,
                begun_lately=sum(
                    1 for one in self.parts.values() if one.started_at and one.started_at > lately
                ),
            ),
            self.policy,
            self.now,
        )
        self.do(verdict)

    def do(self, verdict):
        if verdict.give_up_waiting:
            for part in [one for one in self.parts.values() if one.state is PartState.WAITING]:
                self.move(part, PartState.CANCELLED)
        begins = [
            one for one in self.parts.values() if one.state is PartState.WAITING and one.wave <= self.wave
        ]
        if verdict.begin and self.state is not RolloutState.RUNNING:
            self.stopped_begins += 1
        for part in begins[: verdict.begin]:
            uuid = part.device_uuid
            before = self.in_force[uuid]
            self.in_force[uuid] += 1
            self.move(
                part,
                PartState.UPDATING,
                from_version=before,
                to_version=before + 1,
                started_at=self.now,
                deadline=self.now + timedelta(seconds=self.policy.update_within_s),
            )
        sent_back = self.state is RolloutState.ROLLING_BACK and self.go_back()
        self.wave += verdict.next_wave
        if verdict.becomes is not None and not sent_back:
            self.become(verdict.becomes)

    def go_back(self):
        sent = False
        for part in [one for one in self.parts.values() if one.state in TOUCHED]:
            uuid = part.device_uuid
            if self.in_force[uuid] != part.to_version:
                self.move(part, PartState.SUPERSEDED)
                continue
            self.in_force[uuid] += 1
            sent = True
            deadline = self.now + timedelta(seconds=self.policy.update_within_s)
            self.move(
                part,
                PartState.ROLLING_BACK,
                back_version=self.in_force[uuid],
                deadline=deadline,
                ended_at=None,
            )
        return sent

    @invariant()
    def nobody_begins_unless_it_runs(self):
        assert not getattr(self, "stopped_begins", 0)

    @invariant()
    def no_deadline_is_passed_by_more_than_a_look(self):
        late = [
            one
            for one in getattr(self, "parts", {}).values()
            if one.state in ACTIVE and one.state is not PartState.WAITING and one.deadline < self.now
        ]
        assert not late

    @invariant()
    def who_waits_waits_no_longer_than_the_rollout(self):
        if (
            getattr(self, "parts", None)
            and self.now > self.expires_at
            and self.state is not RolloutState.HALTED
        ):
            assert not self.counts().of(PartState.WAITING)

    def teardown(self):
        if not hasattr(self, "parts"):
            return
        for _ in range(60):
            self.now += timedelta(minutes=10)
            self.look()
        assert self.state.is_over, (self.state, self.counts().by_state())
        assert not self.counts().active()


RolloutMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
TestRolloutMachine = RolloutMachine.TestCase
