"""When simulated devices connect and publish: evenly, instead of all at once."""

import asyncio


class ConnectGate:
    """Lets clients begin to connect, at most `per_second`, with at most `at_once` attempts under way.

    Nobody passes while it is closed.
    """

    def __init__(self, *, per_second: float, at_once: int) -> None:
        self._spacing_s = 1 / per_second
        self._turns = asyncio.Semaphore(at_once)
        self._next_at = 0.0
        self._is_open = asyncio.Event()
        self._is_open.set()

    def close(self) -> None:
        """Let nobody pass until `open`."""
        self._is_open.clear()

    def open(self) -> None:
        """Let clients pass again."""
        self._is_open.set()

    async def enter(self) -> None:
        """Return when it is the caller's turn."""
        await self._is_open.wait()
        await self._turns.acquire()
        now = asyncio.get_running_loop().time()
        self._next_at = max(now, self._next_at) + self._spacing_s
        try:
            await asyncio.sleep(self._next_at - self._spacing_s - now)
        except asyncio.CancelledError:
            self._turns.release()
            raise

    def leave(self) -> None:
        """The attempt has ended."""
        self._turns.release()


class Pace:
    """Says how many rounds are due, from a wanted number of rounds or of messages per second.

    What could not be done in time is made up for at most `most_behind_s`, so that a pause of the process is
    not followed by a flood.
    """

    def __init__(
        self,
        *,
        rounds_per_s: float | None = None,
        messages_per_s: float | None = None,
        most_behind_s: float = 2.0,
    ) -> None:
        self._by_rounds = messages_per_s is None
        self._per_s = (rounds_per_s if messages_per_s is None else messages_per_s) or 0.0
        self._most = self._per_s * most_behind_s
        self._credit = 0.0
        self._at: float | None = None

    def pass_time(self, now_s: float) -> None:
        """Let time pass; call it before asking whether a round is due."""
        if self._at is not None:
            self._credit = min(self._credit + (now_s - self._at) * self._per_s, max(self._most, 1.0))
        self._at = now_s

    @property
    def due(self) -> bool:
        """A round is to be done now."""
        return self._credit >= 1

    def spend(self, messages: int) -> None:
        """Account for a round that published so many messages."""
        self._credit -= 1 if self._by_rounds else messages
