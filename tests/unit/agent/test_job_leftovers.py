"""Processes of an agent that died: found again, and nobody else's touched."""

import os
import subprocess
import time

import pytest
from job_rig import is_there

from iotistic.agent.jobs.commands import MARK
from iotistic.agent.jobs.leftovers import end_leftovers, find_leftovers, is_alive, mark_of, read_mark


@pytest.fixture
def started():
    children = []

    def start(script, **variables):
        child = subprocess.Popen(
            ["/bin/sh", "-c", script],
            start_new_session=True,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **variables},
        )
        children.append(child)
        assert child.stdout.readline() == b"up\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def wait_for_end(pids, within_s=5.0):
    until = time.monotonic() + within_s
    while any(map(is_there, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(is_there, pids))


def test_a_mark_is_of_one_process_only(started):
    child = started("echo up; sleep 300")
    mark = mark_of(child.pid)

    assert is_alive(mark)
    assert read_mark(mark.as_dict()) == mark
    assert not is_alive(mark._replace(started=mark.started + 1))
    assert not is_alive(mark._replace(boot="another boot"))
    child.kill()
    assert wait_for_end([child.pid])
    assert not is_alive(mark)
    child.wait()
    assert mark_of(child.pid) is None


def test_the_session_of_a_process_is_ended_with_it(started):
    child = started("sleep 300 & sleep 300 & echo up; wait")
    found = find_leftovers(mark_of(child.pid), "")

    assert len(found) == 3
    assert end_leftovers(mark_of(child.pid), "", grace_s=0.2) == 3
    assert wait_for_end([one.pid for one in found])


def test_what_does_not_want_to_end_is_killed(started):
    child = started("trap '' TERM; echo up; while :; do sleep 0.1; done")
    end_leftovers(mark_of(child.pid), "", grace_s=0.3)
    assert wait_for_end([child.pid])


def test_another_process_with_the_same_number_is_left_alone(started):
    child = started("echo up; sleep 300")
    mark = mark_of(child.pid)
    assert end_leftovers(mark._replace(started=mark.started - 5), "token", grace_s=0.1) == 0
    assert is_there(child.pid)


def test_what_left_the_session_is_known_by_what_it_carries(started):
    child = started("setsid sh -c 'echo up; exec sleep 300' &", **{MARK: "token-1"})
    other = started("echo up; sleep 300", **{MARK: "token-10"})
    child.wait()
    while not find_leftovers(None, "token-1"):  # just becoming `sleep`
        time.sleep(0.01)

    assert end_leftovers(None, "token-1", grace_s=0.2) == 1
    assert is_there(other.pid)


def test_we_are_not_ended_though_a_job_started_us(monkeypatch):
    code = (
        "import os; from iotistic.agent.jobs.leftovers import end_leftovers;"
        "print(end_leftovers(None, 'token-2', grace_s=0.1), flush=True)"
    )
    said = subprocess.run(
        ["/bin/sh", "-c", f'.venv/bin/python -c "{code}"; echo alive'],
        env={"PATH": os.environ["PATH"], MARK: "token-2", "PYTHONPATH": "src"},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert said.stdout.split() == ["0", "alive"]


def test_nothing_to_look_for_finds_nothing():
    assert find_leftovers(None, "") == []
