"""Passwords are hashed in processes of their own, which come and go unnoticed."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from iotistic.control.accounts.passwords import Passwords

WORD = "four räñdom words\ttogether"


def children():
    """Return the pids of the processes that hash for this one."""
    of_tasks = Path("/proc/self/task").glob("*/children")
    pids = [int(pid) for task in of_tasks for pid in task.read_text().split()]
    return {pid for pid in pids if b"accounts.hashing" in command(pid)}


def command(pid):
    with contextlib.suppress(OSError):  # other children may end meanwhile
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.fixture
def passwords():
    made = Passwords(threads=2, rounds=1, memory_kib=64, is_apart=True)
    yield made
    made.close()


async def test_they_hash_and_compare_as_here(passwords):
    here = Passwords(rounds=1, memory_kib=64)
    known = await passwords.hash(WORD)
    told = [
        await passwords.verify(WORD, known),
        await here.verify(WORD, known),
        await passwords.verify("another", known),
        await passwords.verify(WORD, None),
        await passwords.verify(WORD, "garbage"),
        await passwords.verify("x" * 10_000_000, known),
    ]
    here.close()

    assert told == [(True, None)] * 2 + [(False, None)] * 4


async def test_there_are_as_many_as_threads_and_none_afterwards(passwords):
    before = children()
    await asyncio.gather(*(passwords.hash(WORD) for _ in range(8)))
    during = children()
    passwords.close()

    assert 1 <= len(during - before) <= 2
    assert children() & during == before


async def test_one_that_is_killed_is_replaced(passwords):
    before = children()
    known = await passwords.hash(WORD)
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)

    assert await passwords.verify(WORD, known) == (True, None)
