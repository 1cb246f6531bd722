"""`iotistic watch`."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.installation import ClientSettings, connect, running_endpoints
from iotistic.entrypoints.live.board import Board
from iotistic.entrypoints.live.feed import Feed
from iotistic.entrypoints.live.screen import print_once, show
from iotistic.entrypoints.output import emit
from iotistic.kernel.settings import load_settings

app = App(name="watch", help_format="plaintext")


@app.default
def watch(
    *, json: AsJson = False, once: Annotated[bool, Parameter(negative="")] = False, interval: float = 1.0
) -> None:
    """Show devices, last values and throughput, live, until Ctrl-C.

    Parameters
    ----------
    json
        Print one line of JSON per interval instead of a table.
    once
        Show what is known now, and end.
    interval
        Seconds between two lines of JSON.
    """
    settings = load_settings(ClientSettings)
    api = connect(settings)
    health: Mapping[str, str] = {} if settings.iotistic_api_url else running_endpoints(settings.home).health
    if not json:
        if once:
            print_once(api, health)
        else:
            asyncio.run(show(api, health))
        return
    feed = Feed(api, health)
    board = Board()
    while True:
        feed.ask(board)
        emit(board.snapshot(), json=True)
        if once:
            return
        time.sleep(interval)
