"""Locks of apps on a real file system, with apps that misbehave."""

import asyncio
import json
import multiprocessing
import os
import socket
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.reconcile import locks as locks_module
from iotistic.agent.reconcile.locks import FileLocks, LockHeld, LocksUnavailable


@pytest.fixture
def root(tmp_path):
    return tmp_path / "locks"


def app_takes(locks, app_id="1"):
    """Do what an app does in its container."""
    os.close(os.open(locks.folder(app_id) / "updates.lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


async def test_an_app_that_holds_its_lock_is_not_disturbed(root):
    locks = FileLocks(root)
    app_takes(locks)
    with pytest.raises(LockHeld):
        await locks.take("1")

    assert locks.locked() == {"1"}
    (locks.folder("1") / "updates.lock").unlink()
    assert locks.locked() == frozenset()
    await locks.take("1")


async def test_an_app_cannot_take_what_the_agent_holds(root):
    locks = FileLocks(root)
    await locks.take("1")
    with pytest.raises(FileExistsError):
        app_takes(locks)

    assert locks.locked() == frozenset()
    await locks.release("1")
    app_takes(locks)
    assert locks.locked() == {"1"}


async def test_taking_and_giving_back_may_be_repeated(root):
    locks = FileLocks(root)
    await locks.take("1")
    await locks.take("1")
    await locks.release("1")
    await locks.release("1")
    await locks.release("never seen")

    assert list(locks.folder("1").iterdir()) == []


async def test_giving_back_leaves_the_lock_of_the_app(root):
    locks = FileLocks(root)
    app_takes(locks)
    await locks.release("1")

    assert locks.locked() == {"1"}


async def test_force_takes_it_from_the_app(root):
    locks = FileLocks(root)
    app_takes(locks)
    await locks.take("1", force=True)

    assert locks.locked() == frozenset()


async def test_locks_of_different_apps_have_nothing_to_do_with_each_other(root):
    locks = FileLocks(root)
    app_takes(locks, "1")
    await locks.take("2")

    assert locks.locked() == {"1"}


async def test_a_lock_of_an_agent_that_died_is_taken_over(root):
    await FileLocks(root).take("1")
    locks = FileLocks(root)
    seen = locks.locked()
    await locks.take("1")

    assert seen == frozenset()
    assert json.loads((locks.folder("1") / "updates.lock").read_text())["token"] == locks._token


async def test_an_agent_that_comes_back_holds_what_it_held_and_frees_what_it_forgot(root):
    before = FileLocks(root)
    await before.take("held")
    await before.take("forgotten")
    await before.take("lost")
    (before.folder("lost") / "updates.lock").unlink()
    app_takes(before, "lost")
    app_takes(before, "own")
    locks = FileLocks(root)
    regained = await locks.regain({"held", "lost", "after a reboot"})

    assert regained == {"held", "after a reboot"}
    assert locks.locked() == {"lost", "own"}
    app_takes(locks, "forgotten")


async def test_a_first_start_has_nothing_to_regain(root):
    assert await FileLocks(root).regain(()) == set()
    assert FileLocks(root).locked() == frozenset()


MISCHIEF = {
    "a link to a file": lambda lock, away: lock.symlink_to(away),
    "a link to nothing": lambda lock, away: lock.symlink_to(away / "nothing"),
    "a folder": lambda lock, away: (lock.mkdir(), (lock / "file").write_text("x")),
    "a pipe": lambda lock, away: os.mkfifo(lock),
    "a large file": lambda lock, away: lock.write_bytes(b"{" * 5_000_000),
    "garbage": lambda lock, away: lock.write_bytes(b"\xff\x00["),
    "a list": lambda lock, away: lock.write_text("[1]"),
    "no token": lambda lock, away: lock.write_text('{"made_by": "iotistic-agent", "token": 5}'),
}


@pytest.mark.parametrize("make", MISCHIEF.values(), ids=MISCHIEF)
async def test_whatever_stands_there_is_a_lock_and_force_removes_it(root, tmp_path, make):
    away = tmp_path / "away"
    away.write_text('{"made_by": "iotistic-agent", "token": "t"}')
    locks = FileLocks(root)
    make(locks.folder("1") / "updates.lock", away)
    with pytest.raises(LockHeld):
        await locks.take("1")
    held = locks.locked()
    await locks.release("1")
    await locks.take("1", force=True)

    assert (held, locks.locked()) == ({"1"}, frozenset())
    assert "token" in away.read_text()


async def test_a_socket_is_a_lock_too(root, monkeypatch):
    locks = FileLocks(root)
    monkeypatch.chdir(locks.folder("1"))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("updates.lock")

        assert locks.locked() == {"1"}


def test_every_user_of_an_app_may_lock_and_none_may_remove_what_another_made(root):
    assert stat.S_IMODE(FileLocks(root).folder("1").stat().st_mode) == 0o1777


IDS = st.text(min_size=1, max_size=300) | st.sampled_from(
    ["..", ".", "../../x", "/etc", "a/b", ".agent", "x" * 999]
)


@given(IDS, IDS)
def test_any_id_is_a_folder_of_its_own_below_the_root(tmp_path_factory, first, second):
    root = tmp_path_factory.getbasetemp() / "ids"
    locks = FileLocks(root)
    folders = {locks.folder(first), locks.folder(second)}

    assert {folder.resolve().parent for folder in folders} == {root.resolve()}
    assert len(folders) == len({first, second})
    assert root / ".agent" not in folders


@pytest.mark.parametrize("app_id", ["7", "shop/é %2F", "x" * 999, ".."])
async def test_locked_names_the_app_as_the_target_does(root, app_id):
    locks = FileLocks(root)
    app_takes(locks, app_id)

    assert locks.locked() == {app_id}


async def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    locks = FileLocks(tmp_path / "file" / "locks")
    with pytest.raises(LocksUnavailable):
        await locks.take("1")
    await locks.release("1")

    assert locks.locked() == frozenset()


async def test_an_app_that_lets_go_and_takes_again_while_the_agent_looks_keeps_its_lock(root, monkeypatch):
    locks, looks = FileLocks(root), iter([None])
    app_takes(locks)
    monkeypatch.setattr(locks_module, "_maker", lambda lock: next(looks, "") if lock.exists() else None)
    with pytest.raises(LockHeld):
        await locks.take("1")

    assert locks.locked() == {"1"}


def grab(root, begin, won):
    """Take the lock as often as it can be had, together with others; nobody else may be in between."""
    begin.wait(20)
    lock, inside = root / "app-1" / "updates.lock", root / "inside"
    for _ in range(300):
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            continue
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        inside.unlink()
        lock.unlink()
        won.value += 1


async def test_agent_and_app_are_never_inside_together(root):
    locks, fork = FileLocks(root), multiprocessing.get_context("fork")
    locks.folder("1")
    begin, won = fork.Barrier(2), fork.Value("i", 0)
    app = fork.Process(target=grab, args=(root, begin, won))
    app.start()
    begin.wait(20)
    taken = 0
    while app.is_alive() or not taken:
        try:
            await locks.take("1")
        except LockHeld:
            await asyncio.sleep(0)
            continue
        (root / "inside").touch(exist_ok=False)
        (root / "inside").unlink()
        await locks.release("1")
        taken += 1
    app.join(20)

    assert app.exitcode == 0
    assert taken
