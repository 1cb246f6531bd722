"""Requests for one path begin some time apart; all others pass.

For a path that takes long whoever asks, as a login does, which waits for its turn to be hashed: twenty that arrive in
the same moment would be read, checked and counted in one piece, some 20 ms, while everybody else waits, only to stand
in line afterwards. Whoever would wait longer than half a second begins at once, and is told there to come back.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

_LONGEST_WAIT_S = 0.5


class Spaced:
    """ASGI around an app. `apart_s`: seconds from one beginning to the next."""

    def __init__(self, app: ASGIApp, *, path: str, apart_s: float) -> None:
        self._app, self._path, self._apart_s = app, path, apart_s
        self._next = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request when it is its turn."""
        if scope["type"] == "http" and scope["path"] == self._path:
            now = asyncio.get_running_loop().time()
            turn = max(now, self._next)
            if turn - now < _LONGEST_WAIT_S:
                self._next = turn + self._apart_s
                if turn > now:
                    await asyncio.sleep(turn - now)
        await self._app(scope, receive, send)
