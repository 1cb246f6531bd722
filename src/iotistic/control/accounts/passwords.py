"""Slow hashes of passwords, in few processes of low priority.

    login --> at most `queue` wait --> `threads` threads, each with a process: 150 ms and 64 MiB a hash --> answer

argon2id releases the interpreter's lock, but needs it before and after: a thread of low priority that gets no processor
while it holds the lock, or is handed it, keeps the event loop waiting, on a busy machine for a tenth of a second. So
what steps back is a process of its own, and its thread only waits. A queue that is full refuses at once: an answer
after a minute helps nobody who waits for it.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from iotistic.control.accounts.hashing import Hasher
from iotistic.control.accounts.model import HashingBusy
from iotistic.control.accounts.policy import LONGEST_PASSWORD, normal

T = TypeVar("T")

_MEMORY_KIB = 64 * 1024
_ROUNDS = 4


class Passwords:
    """Hashes and compares; close it when the process ends.

    With `is_apart` in processes of their own, which are started when they are first needed: for whoever has an event
    loop that others wait for.
    """

    def __init__(
        self,
        *,
        threads: int = 2,
        queue: int = 64,
        rounds: int = _ROUNDS,
        memory_kib: int = _MEMORY_KIB,
        is_apart: bool = False,
    ) -> None:
        self._hasher = None if is_apart else Hasher(rounds=rounds, memory_kib=memory_kib)
        self._costs = str(rounds), str(memory_kib)
        self._idle: list[_Apart] = []
        self._threads = ThreadPoolExecutor(threads, "password")
        self._most = threads + queue
        self._running = 0
        # One more than are hashed: who is next has read what it needs by then.
        self._turns = asyncio.Semaphore(threads + 1)
        self._in_line = 0

    def close(self) -> None:
        """End the threads once what they do is done, and the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait until a password may be hashed, with what has to be read before and written after.

        Twenty people who log in at once need not ask the database at once, since their passwords are hashed one after
        the other anyway; it would answer devices later meanwhile. Raises HashingBusy.
        """
        if self._in_line >= self._most:
            raise HashingBusy(hint="try again in a few seconds", retry_after_s=3)
        self._in_line += 1
        try:
            async with self._turns:
                yield
        finally:
            self._in_line -= 1

    async def hash(self, password: str) -> str:
        """Return the argon2id hash. Raises HashingBusy."""
        return await self._in_thread(lambda: self._hash(normal(password)))

    async def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        """Return whether `known` is the hash of `password`, and a better hash to keep in its place if any.

        Without `known`, for an account that does not exist, it takes as long and says no. Raises HashingBusy.
        """
        return await self._in_thread(lambda: self._verify(normal(password), known))

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password) if self._hasher else self._ask("hash", password)

    def _verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        if len(password) > LONGEST_PASSWORD:
            password, known = "", None
        if self._hasher:
            return self._hasher.verify(password, known)
        fits, better = self._ask("verify", password, known)
        return fits, better

    def _ask(self, *request: str | None) -> Any:
        """Ask a process that nobody asks, or a new one; of this thread's own for so long."""
        try:
            apart = self._idle.pop()
        except IndexError:  # asked for, not looked at first: another thread may take the last one in between
            apart = _Apart(*self._costs)
        try:
            return apart.ask(request)
        finally:
            self._idle.append(apart)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._running >= self._most:
            raise HashingBusy(hint="try again in a few seconds", retry_after_s=3)
        self._running += 1
        loop = asyncio.get_running_loop()
        future = self._threads.submit(work)
        future.add_done_callback(lambda _done: loop.call_soon_threadsafe(self._ended))
        return await asyncio.wrap_future(future)

    def _ended(self) -> None:
        self._running -= 1


class _Apart:
    """A process that hashes. It ends with us: nobody asks it any more then."""

    def __init__(self, *costs: str) -> None:
        self._costs = costs
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, request: tuple[str | None, ...]) -> Any:
        """Return its answer; one that has died is replaced once. Raises HashingBusy."""
        line = json.dumps(request).encode() + b"\n"
        for _ in range(2):
            if answer := self._ask(line):
                return json.loads(answer)
            self.close()
        raise HashingBusy(hint="try again in a few seconds", retry_after_s=3)

    def _ask(self, line: bytes) -> bytes:
        """Return what it says; nothing when it is dead."""
        self._child = self._child or self._start()
        with contextlib.suppress(OSError):
            assert self._child.stdin is not None  # noqa: S101  both are pipes
            assert self._child.stdout is not None  # noqa: S101
            self._child.stdin.write(line)
            self._child.stdin.flush()
            return self._child.stdout.readline()
        return b""

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "iotistic.control.accounts.hashing", *self._costs]
        # Away from the terminal: whoever interrupts us there means us.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def close(self) -> None:
        """End it; it has nothing to lose."""
        if self._child is not None:
            self._child.kill()
            with contextlib.suppress(OSError):
                self._child.communicate()
            self._child = None
