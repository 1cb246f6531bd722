"""Slow hashes of passwords: what is computed, and the process that computes it.

`python -m iotistic.control.accounts.hashing ROUNDS KIB` answers requests from its standard input, a JSON list a line, on
its standard output, until that ends. It steps back by niceness, which a kernel that groups processes by session
(autogroup) heeds within a session only; giving the session itself the lowest priority there showed nothing.
"""

import contextlib
import json
import os
import sys

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

_NICENESS = 10
_BCRYPT_BYTES = 72  # what bcrypt reads; the library raises for more, the earlier system cut it off
_BCRYPT_PREFIX = "$2"


class Hasher:
    """argon2id with these costs; bcrypt of the earlier system is still compared."""

    def __init__(self, *, rounds: int, memory_kib: int) -> None:
        self._hasher = PasswordHash(
            (Argon2Hasher(time_cost=rounds, memory_cost=memory_kib, parallelism=1), BcryptHasher())
        )

    def hash(self, password: str) -> str:
        """Return the argon2id hash."""
        return self._hasher.hash(password)

    def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        """Return whether `known` is the hash of `password`, and a better hash to keep in its place if any.

        Without `known` it takes as long and says no.
        """
        if known is None:
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


def main() -> None:
    """Answer until nobody asks any more."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    rounds, memory_kib = map(int, sys.argv[1:])
    hasher = Hasher(rounds=rounds, memory_kib=memory_kib)
    for line in sys.stdin:
        what, *words = json.loads(line)
        answer = hasher.hash(*words) if what == "hash" else hasher.verify(*words)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
