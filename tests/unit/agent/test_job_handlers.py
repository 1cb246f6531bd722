"""Handlers: only what its owner put into one folder is run."""

import os

import pytest
from job_rig import is_there, outcome, pids_in

from iotistic.agent.jobs.errors import HandlerRefused
from iotistic.agent.jobs.handlers import find_handler


@pytest.fixture
def handlers(tmp_path):
    root = tmp_path / "handlers"
    (root / "tools").mkdir(parents=True)
    for path in (root / "hello.sh", root / "tools" / "inner.sh"):
        path.write_text('#!/bin/sh\necho "$0: $1; $2"\n')
        path.chmod(0o755)
    for folder in (root, root / "tools"):
        folder.chmod(0o755)
    outside = tmp_path / "outside.sh"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    return root


def handler(name, folder="", *args):
    return {
        "name": "run",
        "type": "runHandler",
        "input": {"handler": name, "path": folder, "args": list(args)},
    }


def refused(handlers, name, folder=""):
    with pytest.raises(HandlerRefused) as raised:
        find_handler(handlers, folder, name)
    return raised.value.message


@pytest.mark.parametrize(
    ("folder", "name"), [("", "hello.sh"), ("tools", "inner.sh"), ("./tools/", "inner.sh")]
)
def test_a_handler_is_found_in_the_folder_or_below(handlers, folder, name):
    assert find_handler(handlers, folder, name).name == name


async def test_a_handler_gets_its_arguments_as_they_are(handlers):
    said = await outcome(
        handler("hello.sh", "default", "a b", "$(id)"),
        limits={"job_handler_dir": handlers},
        includeStdOut=True,
    )
    assert said["stdout"] == f"{handlers}/hello.sh: a b; $(id)\n"


async def test_without_a_folder_there_are_no_handlers():
    said = await outcome(handler("hello.sh"))
    assert (said["status"], said["reason"]) == ("FAILED", "step run was not run: this device has no handlers")


async def test_an_escape_fails_the_step_and_runs_nothing(handlers):
    said = await outcome(handler("outside.sh", ".."), limits={"job_handler_dir": handlers})
    assert said["reason"] == "step run was not run: the path '..' is not below JOB_HANDLER_DIR"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("", ".."), ("", "."), ("", "../outside.sh"), ("", "/bin/sh"), ("..", "outside.sh"), ("/bin", "sh"),
     ("tools/../..", "outside.sh"), ("tools/..", "hello.sh"), ("", "tools/inner.sh"), ("a\0b", "x"), ("", "a\0b")],
)  # fmt: skip
def test_no_path_leads_out(handlers, folder, name):
    assert "is not below" in refused(handlers, name, folder) or "is no file name" in refused(
        handlers, name, folder
    )


def test_a_handler_that_is_not_there(handlers):
    assert "cannot be used" in refused(handlers, "missing.sh")
    assert "cannot be used" in refused(handlers, "inner.sh", "missing")
    assert "JOB_HANDLER_DIR cannot be used" in refused(handlers / "missing", "hello.sh")


def test_links_are_not_followed(handlers):
    (handlers / "link.sh").symlink_to(handlers.parent / "outside.sh")
    (handlers / "linked").symlink_to(handlers.parent)
    (handlers / "loop").symlink_to(handlers / "loop")

    assert "is not a regular file" in refused(handlers, "link.sh")
    assert "is not a folder" in refused(handlers, "outside.sh", "linked")
    assert "is not a regular file" in refused(handlers, "loop")
    assert "cannot be used" in refused(handlers / "loop", "hello.sh")


def test_what_is_no_program_is_refused(handlers):
    (handlers / "hello.sh").chmod(0o644)
    os.mkfifo(handlers / "pipe", 0o755)

    assert "is not executable" in refused(handlers, "hello.sh")
    assert "is not a regular file" in refused(handlers, "tools")
    assert "is not a regular file" in refused(handlers, "pipe")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
@pytest.mark.parametrize("place", ["", "tools", "tools/inner.sh"])
def test_what_others_could_have_written_is_refused(handlers, place, mode):
    (handlers / place).chmod(mode)
    assert "can be written by others" in refused(handlers, "inner.sh", "tools")


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_what_belongs_to_somebody_else_is_refused(handlers):
    os.chown(handlers / "hello.sh", 12345, 12345)
    assert "belongs to the user 12345" in refused(handlers, "hello.sh")


async def test_a_handler_without_an_interpreter_fails_the_step(handlers):
    (handlers / "odd").write_text("echo hello")
    (handlers / "odd").chmod(0o755)
    said = await outcome(handler("odd"), limits={"job_handler_dir": handlers})
    assert "Exec format error" in said["reason"]


def test_the_tests_hands_see_no_process_that_is_not_there(tmp_path):
    assert not is_there(2**22 + 1)
    assert pids_in(tmp_path / "none") == []
