"""Slow hashes of passwords, in few threads of low priority.

    login --> at most `queue` wait --> `threads` hash, 150 ms and 64 MiB each --> answer

argon2id releases the interpreter's lock, so the event loop goes on meanwhile; the threads are niced, so
that it also gets the processor when there are fewer processors than threads. A queue that is full refuses
at once: an answer after a minute helps nobody who waits for it.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from iotistic.control.accounts.model import HashingBusy
from iotistic.control.accounts.policy import LONGEST_PASSWORD, normal

T = TypeVar("T")

_NICENESS = 10
_MEMORY_KIB = 64 * 1024
_ROUNDS = 4
_BCRYPT_BYTES = 72  # what bcrypt reads; the library raises for more, the earlier system cut it off
_BCRYPT_PREFIX = "$2"


class Passwords:
    """Hashes and compares; close it when the process ends."""

    def __init__(
        self, *, threads: int = 2, queue: int = 64, rounds: int = _ROUNDS, memory_kib: int = _MEMORY_KIB
    ) -> None:
        self._hasher = PasswordHash(
            (Argon2Hasher(time_cost=rounds, memory_cost=memory_kib, parallelism=1), BcryptHasher())
        )
        self._threads = ThreadPoolExecutor(threads, "password", initializer=_step_back)
        self._most = threads + queue
        self._running = 0

    def close(self) -> None:
        """End the threads once what they do is done."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the argon2id hash. Raises HashingBusy."""
        return await self._in_thread(lambda: self._hasher.hash(normal(password)))

    async def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        """Return whether `known` is the hash of `password`, and a better hash to keep in its place if any.

        Without `known`, for an account that does not exist, it takes as long and says no. Raises HashingBusy.
        """
        return await self._in_thread(lambda: self._verify(password, known))

    def _verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        password = normal(password)
        if known is None or len(password) > LONGEST_PASSWORD:
            self._hasher.hash("nobody's password")
            return False, None
        if known.startswith(_BCRYPT_PREFIX):
            return self._verify_bcrypt(password, known)
        try:
            return self._hasher.verify_and_update(password, known)
        except (PwdlibError, ValueError):
            return False, None

    def _verify_bcrypt(self, password: str, known: str) -> tuple[bool, str | None]:
        try:
            fits = self._hasher.verify(password.encode()[:_BCRYPT_BYTES], known)
        except (PwdlibError, ValueError):
            fits = False
        # Hashed in either case: who fails must not see that this account has not been upgraded.
        better = self._hasher.hash(password)
        return fits, better if fits else None

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


def _step_back() -> None:
    # Linux nices single threads; elsewhere this is the whole process, and refused or left alone.
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
