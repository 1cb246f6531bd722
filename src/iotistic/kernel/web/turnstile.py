"""Requests of an app begin one after the other, with room between them for what else the event loop has to do.

    request --> did another one just begin? -- no --> app
                  yes: waits for its turn, as long after the one before as the loop was busy with that --> app

Twenty requests that arrive within a millisecond would hold the loop for the sum of their first pieces, and what is
answered in front of the app would wait behind all of them. Only beginnings are spaced, in the order in which requests
came: nobody waits for another one's end, and requests that stay, as event streams do, take up nothing. Nobody waits
for longer than a tenth of a second and a turn of the loop: whoever has, begins with the next, however many they are.
"""

import asyncio
import time
from collections import deque

from starlette.types import ASGIApp, Receive, Scope, Send

_LONGEST_WAIT_S = 0.1
_LONGEST_PAUSE_S = 0.01
_SHORTEST_PAUSE_S = 0.0005  # uvloop takes times as whole milliseconds


class Turnstile:
    """ASGI around an app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._is_closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request in its turn."""
        if scope["type"] == "http":
            if self._is_closed:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append((time.monotonic(), turn))
                await turn
            else:
                self._close()
        await self._app(scope, receive, send)

    def _close(self) -> None:
        """Let nobody else begin until the loop has come round, and as long again."""
        self._is_closed = True
        asyncio.get_running_loop().call_soon(self._came_round, time.monotonic())

    def _came_round(self, began: float) -> None:
        pause_s = min(time.monotonic() - began, _LONGEST_PAUSE_S)
        if pause_s < _SHORTEST_PAUSE_S:
            self._open()
        else:
            asyncio.get_running_loop().call_later(pause_s, self._open)

    def _open(self) -> None:
        self._is_closed = False
        overdue = time.monotonic() - _LONGEST_WAIT_S
        # Whoever was cancelled meanwhile takes no turn.
        while self._waiting and (not self._is_closed or self._waiting[0][0] < overdue):
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._is_closed = True
        if self._is_closed:
            self._close()
