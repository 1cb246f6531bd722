"""Steps as real processes: what they may do, what is kept of what they say, and that nothing of them is left."""

import os
import pwd
import resource
import sys
import time

import pytest
from job_rig import command, is_there, outcome, pids_in, shell, until

NOBODY = "nobody"


async def test_steps_run_in_order_and_are_counted(tmp_path):
    said = await outcome(
        shell("one", f"echo one >> {tmp_path}/log"),
        shell("two", f"echo two >> {tmp_path}/log"),
        includeStdOut=True,
    )

    assert (said["status"], said["executed_steps"], said["exit_code"]) == ("SUCCEEDED", 2, 0)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


async def test_a_command_has_no_shell():
    said = await outcome(command("echo", "echo", "$HOME; ls | cat > /tmp/x", "a,b"), includeStdOut=True)
    assert said["stdout"] == "$HOME; ls | cat > /tmp/x a,b\n"


async def test_standard_output_is_told_only_when_it_is_asked_for():
    said = await outcome(shell("talk", "echo secret; echo problem >&2"))
    assert "stdout" not in said
    assert said["stderr"] == "problem\n"


async def test_a_failing_step_ends_the_job(tmp_path):
    said = await outcome(shell("break", "exit 3"), shell("after", f"touch {tmp_path}/after"))

    assert (said["status"], said["failed_step"], said["exit_code"]) == ("FAILED", "break", 3)
    assert said["reason"] == "step break ended with status 3"
    assert said["executed_steps"] == 1
    assert not (tmp_path / "after").exists()


async def test_a_failure_that_is_to_be_ignored_does_not(tmp_path):
    said = await outcome(
        shell("break", "exit 3", ignoreStepFailure=True), shell("after", f"touch {tmp_path}/after")
    )

    assert (said["status"], said["executed_steps"], said["exit_code"]) == ("SUCCEEDED", 2, 0)
    assert (tmp_path / "after").exists()


async def test_a_step_that_dies_of_a_signal_says_so():
    said = await outcome(shell("die", "kill -SEGV $$"))
    assert (said["status"], said["exit_code"]) == ("FAILED", 139)
    assert said["reason"] == "step die was ended by SIGSEGV"


@pytest.mark.parametrize(
    ("allowed", "status"),
    [({}, "SUCCEEDED"), ({"allowStdErr": True}, "SUCCEEDED"), ({"allowStdErr": 2}, "SUCCEEDED"),
     ({"allowStdErr": 1}, "FAILED"), ({"allowStdErr": False}, "FAILED")],
)  # fmt: skip
async def test_standard_error_fails_a_step_only_where_it_was_said(allowed, status):
    said = await outcome(shell("warn", "echo one >&2; printf two >&2", **allowed))
    assert said["status"] == status


async def test_too_much_on_standard_error_is_told_in_numbers():
    said = await outcome(shell("quiet", "printf x >&2"), shell("warn", "printf y >&2; exit 0", allowStdErr=0))
    assert said["reason"] == "step warn wrote 1 lines to standard error, allowed are 0"


async def test_a_program_that_is_not_there_fails_the_step():
    said = await outcome(command("no", "no-such-program", "x"))
    assert said["status"] == "FAILED"
    assert "step no was not run: no-such-program cannot be started" in said["reason"]


@pytest.mark.parametrize("steps", [[shell("fine", "true")], [shell("break", "false")]])
async def test_the_final_step_runs_whatever_happened(tmp_path, steps):
    said = await outcome(*steps, finalStep=shell("clean", f"touch {tmp_path}/clean"))
    assert (tmp_path / "clean").exists()
    assert said["executed_steps"] == 2


async def test_a_final_step_that_fails_fails_the_job():
    said = await outcome(shell("fine", "true"), finalStep=shell("clean", "exit 9"))
    assert (said["status"], said["failed_step"], said["exit_code"]) == ("FAILED", "clean", 9)


async def test_two_failures_are_both_told():
    said = await outcome(shell("break", "exit 3"), finalStep=shell("clean", "exit 9"))
    assert (said["failed_step"], said["exit_code"]) == ("break", 3)
    assert said["reason"] == "step break ended with status 3; step clean ended with status 9"


async def test_a_step_that_takes_too_long_is_ended_with_all_its_children(tmp_path):
    pids = tmp_path / "pids"
    script = f"""
        trap '' TERM
        sh -c 'trap "" TERM; echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; wait' &
        setsid sh -c 'echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; wait' &
        echo $$ >> {pids}
        wait; sleep 300
    """
    began = time.monotonic()
    said = await outcome(
        shell("hang", script, timeoutSeconds=1), finalStep=shell("clean", f"touch {tmp_path}/clean")
    )

    assert (said["status"], said["failed_step"]) == ("TIMED_OUT", "hang")
    assert said["reason"] == "step hang took longer than 1 s"
    assert "exit_code" not in said
    assert len(pids_in(pids)) == 5
    await until(lambda: not any(map(is_there, pids_in(pids))))
    assert (tmp_path / "clean").exists()
    assert time.monotonic() - began < 10


async def test_a_step_that_ends_when_it_is_asked_to_is_not_killed(tmp_path):
    script = f"trap 'sleep 0.1; touch {tmp_path}/tidy; exit 0' TERM; sleep 300 & wait"
    said = await outcome(shell("hang", script, timeoutSeconds=1))
    assert said["status"] == "TIMED_OUT"
    assert (tmp_path / "tidy").exists()


async def test_a_stopped_process_is_ended_too(tmp_path):
    said = await outcome(shell("freeze", f"echo $$ > {tmp_path}/pids; kill -STOP $$", timeoutSeconds=1))
    assert said["status"] == "TIMED_OUT"
    assert not any(map(is_there, pids_in(tmp_path / "pids")))


async def test_what_a_step_leaves_running_in_its_group_is_killed_when_it_ends(tmp_path):
    began = time.monotonic()
    said = await outcome(
        shell("leave", f"sleep 300 & echo $! > {tmp_path}/pids; echo done"), includeStdOut=True
    )

    assert (said["status"], said["stdout"]) == ("SUCCEEDED", "done\n")
    assert not any(map(is_there, pids_in(tmp_path / "pids")))
    assert time.monotonic() - began < 5


async def test_what_puts_itself_into_another_session_stays_and_keeps_nobody_waiting(tmp_path):
    began = time.monotonic()
    said = await outcome(shell("leave", f"setsid sleep 300 & sleep 0.2; echo $! > {tmp_path}/pids"))
    stayed = [pid for pid in pids_in(tmp_path / "pids") if is_there(pid)]
    for pid in stayed:
        os.kill(pid, 9)

    assert said["status"] == "SUCCEEDED"
    assert len(stayed) == 1
    assert time.monotonic() - began < 8


async def test_a_flood_of_output_is_bounded_in_memory_and_says_what_is_left_out():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = "import sys; line = b'x' * 999 + b'\\n'; [sys.stdout.buffer.write(line) for _ in range(100_000)]"
    said = await outcome(
        shell("begin", "echo first"), command("flood", sys.executable, "-c", flood), shell("end", "echo last"),
        includeStdOut=True,
    )  # fmt: skip
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert said["status"] == "SUCCEEDED"
    assert said["stdout"].startswith("first\nxxx")
    assert said["stdout"].endswith("x\nlast\n")
    assert f"[... {100_000_011 - 65_536} bytes left out ...]" in said["stdout"]
    assert len(said["stdout"]) < 66_000
    assert grown_kb < 16 * 1024


async def test_both_outputs_may_flood_at_once():
    flood = "import os; [os.write(fd, b'y' * 65536) for _ in range(100) for fd in (1, 2)]"
    said = await outcome(command("flood", sys.executable, "-c", flood), includeStdOut=True)
    assert said["status"] == "SUCCEEDED"
    assert len(said["stdout"]) == len(said["stderr"])


async def test_binary_output_becomes_a_text_that_databases_take():
    said = await outcome(command("binary", sys.executable, "-c", "import os; os.write(1, bytes(range(256)) * 4)"),
                         includeStdOut=True)  # fmt: skip
    assert "\0" not in said["stdout"]
    assert said["stdout"].encode("utf-8")
    assert "ABC" in said["stdout"]


async def test_a_step_sees_nothing_of_the_agents_environment(monkeypatch):
    monkeypatch.setenv("API_KEY", "very-secret")
    monkeypatch.setenv("MQTT_PASSWORD", "very-secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("TZ", "UTC")
    said = await outcome(command("env", "env"), includeStdOut=True)
    names = {line.partition("=")[0] for line in said["stdout"].splitlines()}

    assert "very-secret" not in said["stdout"]
    assert names <= {"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME", "USER", "LOGNAME",
                     "IOTISTIC_JOB_ID", "IOTISTIC_JOB_STEP", "IOTISTIC_JOB_MARK"}  # fmt: skip
    assert "IOTISTIC_JOB_STEP=env" in said["stdout"]


async def test_a_step_has_no_open_files_of_the_agents_and_no_input(tmp_path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        said = await outcome(shell("files", "ls /proc/self/fd | wc -l; cat | wc -c"), includeStdOut=True)
    assert said["stdout"].split() == ["4", "0"]


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="changes users")
async def test_a_step_runs_as_another_user_with_that_users_groups():
    said = await outcome(
        shell("who", "id -un; id -gn; echo $HOME; echo $USER", runAsUser=NOBODY), includeStdOut=True
    )
    name, group, home, user = said["stdout"].split()
    assert (name, user, home) == (NOBODY, NOBODY, pwd.getpwnam(NOBODY).pw_dir)
    assert group != "root"


async def test_an_unknown_user_is_refused_with_a_reason():
    said = await outcome(shell("who", "id", runAsUser="no-such-user"))
    assert said["status"] == "FAILED"
    assert said["reason"] == "step who was not run: there is no user 'no-such-user' on this device"


async def test_only_root_can_run_as_somebody_else(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    said = await outcome(shell("who", "id", runAsUser="root"))
    assert said["reason"] == "step who was not run: only an agent that runs as root can run a step as 'root'"
