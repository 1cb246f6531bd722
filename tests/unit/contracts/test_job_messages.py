"""Jobs as they arrive by MQTT and HTTP, and reports as they leave."""

import pytest

from iotistic.contracts.job_messages import JobOrder, JobReport, read_answer, read_order
from iotistic.contracts.jobs import JobStatus

DOCUMENT = {"version": "1.0"}


def test_an_announcement_is_read():
    order, faults = read_order(
        {
            "execution": {
                "jobId": "job-7",
                "jobDocument": DOCUMENT,
                "queuedAt": "2026-05-17T10:00:00Z",
                "lastUpdatedAt": "2026-05-17T10:00:00Z",
                "versionNumber": 1,
                "executionNumber": 3,
                "status": "QUEUED",
            },
            "timestamp": 5,
        }
    )
    assert faults == []
    assert order == JobOrder("job-7", 3, document=DOCUMENT, status=JobStatus.QUEUED)


def test_an_answer_of_the_queue_is_read():
    order, faults = read_order(
        {
            "job_id": "job-7",
            "job_name": "Update",
            "job_document": DOCUMENT,
            "timeout_seconds": 600,
            "created_at": "2026-05-17T10:00:00Z",
        }
    )
    assert faults == []
    assert order == JobOrder("job-7", None, "Update", DOCUMENT, 600.0)


@pytest.mark.parametrize("message", [{}, {"execution": {}, "timestamp": 5}, {"timestamp": 5}])
def test_no_job_is_no_fault(message):
    assert read_order(message) == (None, [])


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (None, "is to be an object, not None"),
        ([], "is to be an object, not []"),
        ({"execution": 5}, "execution: is to be an object, not 5"),
        ({"execution": {"jobDocument": {}}}, "execution.jobId: is missing"),
        ({"job_id": ""}, "job_id: is to be a job's id, not ''"),
        ({"job_id": "../../state"}, "job_id: is to be a job's id, not '../../state'"),
        ({"job_id": "a/+/b"}, "job_id: is to be a job's id, not 'a/+/b'"),
        ({"job_id": "#"}, "job_id: is to be a job's id, not '#'"),
        ({"job_id": "a" * 129}, "job_id: is to be a job's id"),
        ({"job_id": True}, "job_id: is to be a job's id, not True"),
        ({"job_id": "a", "timeout_seconds": 0}, "timeout_seconds: is to be a number of seconds, not 0"),
        (
            {"job_id": "a", "timeout_seconds": float("nan")},
            "timeout_seconds: is to be a number of seconds, not nan",
        ),
        ({"job_id": "a", "executionNumber": "1"}, "execution_number: is to be a whole number"),
        ({"job_id": "a", "status": "DONE"}, "status: is to be one of"),
    ],
)
def test_an_unusable_message_is_refused_by_path(message, fault):
    order, faults = read_order(message)
    assert order is None
    assert str(faults[0]).startswith(fault)


def test_a_number_is_an_id_too():
    order, _ = read_order({"job_id": 12, "job_document": DOCUMENT})
    assert order is not None
    assert order.job_id == "12"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"status": "CANCELED"}, JobStatus.CANCELED),
        ({"executionState": {"status": "CANCELED", "versionNumber": 2}, "timestamp": 1}, JobStatus.CANCELED),
        ({"status": "ok"}, None),
        ({"status": ["CANCELED"]}, None),
        ({"executionState": 5}, None),
        ({}, None),
        (None, None),
    ],
)
def test_an_answer_may_say_the_status(message, status):
    assert read_answer(message) is status


def test_a_report_says_only_what_there_is():
    assert JobReport(JobStatus.IN_PROGRESS).as_fields() == {"status": "IN_PROGRESS", "executed_steps": 0}
    assert JobReport(JobStatus.FAILED, "no", 3, "out", "err", 2, "greet", {"step": "greet"}).as_fields() == {
        "status": "FAILED",
        "reason": "no",
        "exit_code": 3,
        "stdout": "out",
        "stderr": "err",
        "executed_steps": 2,
        "failed_step": "greet",
        "status_details": {"step": "greet"},
    }
