"""The statuses of a job: every transition, allowed or not."""

from itertools import product

import pytest

from iotistic.contracts.jobs import JobStatus, TransitionRefused, moved

ALLOWED = {
    ("QUEUED", "IN_PROGRESS"),
    ("QUEUED", "REJECTED"),
    ("QUEUED", "CANCELED"),
    ("IN_PROGRESS", "IN_PROGRESS"),
    ("IN_PROGRESS", "SUCCEEDED"),
    ("IN_PROGRESS", "FAILED"),
    ("IN_PROGRESS", "TIMED_OUT"),
    ("IN_PROGRESS", "CANCELED"),
}
REFUSED = sorted(set(product(JobStatus.__members__, repeat=2)) - ALLOWED)


@pytest.mark.parametrize(("before", "after"), sorted(ALLOWED))
def test_an_allowed_transition_is_made(before, after):
    assert moved(JobStatus(before), JobStatus(after)) is JobStatus(after)


@pytest.mark.parametrize(("before", "after"), REFUSED)
def test_any_other_transition_is_refused(before, after):
    with pytest.raises(TransitionRefused, match=f"{before} cannot become {after}"):
        moved(JobStatus(before), JobStatus(after))


def test_final_is_what_nothing_comes_after():
    final = {status.value for status in JobStatus if status.is_final}
    assert final == {"SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "CANCELED"}
