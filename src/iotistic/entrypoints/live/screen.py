"""The live table: drawn once, or refreshed once a second in a thread until cancelled."""

import asyncio
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live

from iotistic.entrypoints.installation import Api
from iotistic.entrypoints.live.board import Board
from iotistic.entrypoints.live.feed import Feed
from iotistic.entrypoints.live.view import draw

_EVERY_S = 1.0
_ALL_LINES = 1_000_000


async def show(api: Api, health: Mapping[str, str], *, console: Console | None = None) -> None:
    """Show the live table until cancelled; the last picture stays on the terminal."""
    board = Board()
    feed = Feed(api, health)
    target = console or Console()
    with Live(console=target, auto_refresh=False, transient=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            await asyncio.to_thread(feed.refresh, board)
            picture = draw(board, width=target.width, height=target.height, docs=f"{api.url}/docs")
            live.update(picture, refresh=True)
            await asyncio.sleep(max(0.05, _EVERY_S - (time.monotonic() - began)))


def print_once(api: Api, health: Mapping[str, str], *, console: Console | None = None) -> None:
    """Print the table as it is now; into a file or a pipe with all rows. Raises what goes wrong."""
    board = Board()
    Feed(api, health).ask(board)
    target = console or Console()
    height = target.height if target.is_terminal else _ALL_LINES
    target.print(draw(board, width=target.width, height=height, docs=f"{api.url}/docs"))
