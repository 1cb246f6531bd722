"""A part's life: whatever is lost, late, doubled or out of order, an end stays and is one that happened."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from iotistic.contracts.jobs import JobStatus
from iotistic.control.jobs.arrivals import Heard, Part, Terms, cancelled, heard, late, read_report
from iotistic.control.jobs.model import ReportInvalid, ReportOutOfTurn

T0 = datetime(2026, 5, 17, 10, tzinfo=UTC)
ENDS = [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.REJECTED]
TERMS = Terms(timeout_s=600, wait_s=3600, grace_s=60, attempts=3, backoff_s=30)


def queued(**changes):
    return Part(available_at=T0, deadline=T0 + timedelta(hours=1), **changes)


def said(status, attempt=None, **changes):
    return Heard(status=status, attempt=attempt, **changes)


class ArrivalOrders(RuleBasedStateMachine):
    """A cloud, a device that tells the truth, and a network that keeps nothing in order."""

    @initialize(
        attempts=st.integers(1, 4), is_numbered=st.booleans(), ends_after_s=st.none() | st.integers(1, 20_000)
    )
    def order(self, attempts, is_numbered, ends_after_s):
        ends_at = None if ends_after_s is None else T0 + timedelta(seconds=ends_after_s)
        self.terms = replace(TERMS, attempts=attempts, ends_at=ends_at)
        deadline = T0 + timedelta(seconds=TERMS.wait_s)
        self.part = Part(available_at=T0, deadline=min(deadline, ends_at or deadline))
        self.now, self.is_numbered, self.was_cancelled = T0, is_numbered, False
        self.on_device, self.ends, self.network = {}, {}, []
        self.frozen = None

    def becomes(self, part):
        before, self.part = self.part, part
        assert part.attempt >= before.attempt
        if before.status.is_final:
            self.frozen = self.frozen or before
            for name in ("status", "finished_at", "attempt", "reason", "executed_steps", "failed_step"):
                assert getattr(part, name) == getattr(self.frozen, name)

    @precondition(lambda self: self.part.status is JobStatus.QUEUED and self.now >= self.part.available_at)
    @rule()
    def hand_out(self):
        self.on_device.setdefault(self.part.attempt, "received")

    @rule(steps=st.integers(0, 3))
    def begin_on_the_device(self, steps):
        for number, state in self.on_device.items():
            if state in ("received", "begun"):
                self.on_device[number] = "begun"
                self.send(number, JobStatus.IN_PROGRESS, executed_steps=steps)

    @rule(end=st.sampled_from([JobStatus.FAILED] * 4 + ENDS))
    def end_on_the_device(self, end):
        for number, state in self.on_device.items():
            if state != "ended":
                self.on_device[number] = "ended"
                self.ends[number] = end
                self.send(number, end, reason=f"end of {number}")

    def send(self, number, status, **fields):
        self.network.append(said(status, number if self.is_numbered else None, **fields))

    @precondition(lambda self: self.network)
    @rule(data=st.data(), is_kept=st.booleans())
    def deliver(self, data, is_kept):
        index = data.draw(st.integers(0, len(self.network) - 1))
        report = self.network[index] if is_kept else self.network.pop(index)
        before = self.part
        try:
            self.becomes(heard(before, report, self.now, self.terms))
        except ReportOutOfTurn:
            assert not self.is_numbered
        assert report.attempt in (None, before.attempt) or self.part is before

    @precondition(lambda self: self.network)
    @rule()
    def lose(self):
        self.network.pop()

    @rule(seconds=st.sampled_from([1, 31, 61, 300, 700, 3600]))
    def wait(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule()
    def expire(self):
        before = self.part
        self.becomes(late(self.part, self.now, self.terms))
        assert before.status.is_final or self.now < before.deadline or self.part is not before

    @rule(is_meant=st.sampled_from([False] * 9 + [True]))
    def cancel(self, is_meant):
        if not is_meant:  # most parts are not cancelled
            return
        self.was_cancelled = self.was_cancelled or not self.part.status.is_final
        self.becomes(cancelled(self.part, self.now, "by anna"))

    @invariant()
    def is_over_or_will_be(self):
        part = self.part
        assert (part.finished_at is not None) == part.status.is_final
        assert (part.started_at is None) or part.status is not JobStatus.QUEUED
        assert (part.started_at is not None) or part.status is not JobStatus.IN_PROGRESS
        assert part.attempt <= self.terms.attempts
        assert part.deadline <= self.now + timedelta(seconds=TERMS.wait_s + 30 * 2**4)
        assert self.terms.ends_at is None or part.deadline <= self.terms.ends_at

    @invariant()
    def an_end_is_one_that_happened(self):
        status, told = self.part.status, self.ends
        if self.part.said is not None:
            assert self.part.said in told.values()
        if status in (JobStatus.SUCCEEDED, JobStatus.REJECTED, JobStatus.FAILED):
            assert status in told.values()
            assert not self.is_numbered or told[self.part.attempt] is status
        if status is JobStatus.CANCELED:
            assert self.was_cancelled


ArrivalOrders.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestArrivalOrders = ArrivalOrders.TestCase


def test_an_end_before_its_beginning_is_an_end():
    part = heard(queued(), said(JobStatus.SUCCEEDED, 1, stdout="hello"), T0, TERMS)
    after = heard(part, said(JobStatus.IN_PROGRESS, 1), T0, TERMS)

    assert (part.status, part.finished_at, part.said) == (JobStatus.SUCCEEDED, T0, JobStatus.SUCCEEDED)
    assert after is part


def test_progress_never_goes_back_and_moves_no_deadline():
    begun = heard(queued(), said(JobStatus.IN_PROGRESS, executed_steps=0), T0, TERMS)
    third = heard(begun, said(JobStatus.IN_PROGRESS, executed_steps=3), T0 + timedelta(minutes=5), TERMS)
    second = heard(third, said(JobStatus.IN_PROGRESS, executed_steps=2), T0 + timedelta(minutes=6), TERMS)

    assert (second.executed_steps, second.started_at) == (3, T0)
    assert second.deadline == begun.deadline == T0 + timedelta(seconds=660)


def test_pauses_between_tries_grow():
    part, now, pauses = queued(), T0, []
    for number in (1, 2):
        part = heard(part, said(JobStatus.FAILED, number, reason="exit code 1"), now, TERMS)
        pauses.append((part.available_at - now).total_seconds())
        now = part.available_at

    assert pauses == [30, 60]
    assert (part.status, part.attempt, part.reason) == (
        JobStatus.QUEUED,
        3,
        "try 2 of 3: FAILED, exit code 1",
    )
    assert part.notify_at == part.available_at


def test_what_a_device_rejects_is_not_tried_again():
    assert heard(queued(), said(JobStatus.REJECTED), T0, TERMS).status is JobStatus.REJECTED


def test_a_try_that_is_out_of_the_jobs_time_is_the_last():
    terms = replace(TERMS, ends_at=T0 + timedelta(minutes=1))
    part = heard(queued(), said(JobStatus.IN_PROGRESS), T0, terms)

    assert part.deadline == terms.ends_at
    assert late(part, terms.ends_at, terms).status is JobStatus.TIMED_OUT


def test_a_report_that_names_no_try_is_not_taken_for_one_that_did_not_begin():
    second = heard(queued(), said(JobStatus.FAILED), T0, TERMS)
    with pytest.raises(ReportOutOfTurn):
        heard(second, said(JobStatus.FAILED), T0, TERMS)
    begun = heard(second, said(JobStatus.IN_PROGRESS), T0, TERMS)

    assert heard(begun, said(JobStatus.FAILED), T0, TERMS).attempt == 3


def test_what_comes_after_a_cancellation_is_kept_beside_it():
    part = cancelled(heard(queued(), said(JobStatus.IN_PROGRESS), T0, TERMS), T0, "by anna")
    after = heard(part, said(JobStatus.SUCCEEDED, stdout="hello", exit_code=0), T0, TERMS)

    assert (after.status, after.said, after.stdout) == (JobStatus.CANCELED, JobStatus.SUCCEEDED, "hello")
    assert heard(after, said(JobStatus.FAILED), T0, TERMS) is after


def test_reports_of_earlier_agents_are_read():
    report = read_report(
        {
            "status": "FAILED",
            "exitCode": 3,
            "failedStep": "run",
            "executed_steps": ["a", "b"],
            "statusDetails": {"execution_number": 2},
            "more": "whatever",
        },
        most_output=100,
    )

    assert (report.exit_code, report.failed_step, report.executed_steps, report.attempt) == (3, "run", 2, 2)


def test_details_that_are_too_long_leave_the_number_of_the_try():
    details = {"execution_number": 2, "more": "x" * 20_000}

    assert read_report({"status": "FAILED", "status_details": details}, most_output=1).attempt == 2


@pytest.mark.parametrize("number", [0, -1, 2**31, True, "1", 1.5, None])
def test_a_number_that_is_none_names_no_try(number):
    report = read_report({"status": "FAILED", "status_details": {"execution_number": number}}, most_output=1)

    assert report.attempt is None


@pytest.mark.parametrize(
    "message", [None, [], "x", {}, {"status": "failed"}, {"status": "FAILED", "reason": 1}]
)
def test_what_is_no_report_is_refused(message):
    with pytest.raises(ReportInvalid):
        read_report(message, most_output=1)
