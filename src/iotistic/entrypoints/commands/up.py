"""`iotistic up`."""

import asyncio
import sys
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from iotistic.entrypoints.installation import Api, Endpoints
from iotistic.entrypoints.live.screen import show
from iotistic.entrypoints.up.session import Session
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.kernel.settings import load_settings

app = App(name="up", help_format="plaintext")


@app.default
def up(
    *,
    plain: Annotated[bool, Parameter(negative="")] = False,
    workers: int | None = None,
    simulate: int | None = None,
    agent: Annotated[bool, Parameter(negative="")] = False,
    listen: str | None = None,
    api_port: int | None = None,
    pki_port: int | None = None,
    mqtt_port: int | None = None,
) -> int:
    """Start everything on this machine; Ctrl-C stops it, a second Ctrl-C at once.

    All state is in IOTISTIC_HOME. DATABASE_URL or MQTT_BROKER_URL use a database or broker of yours.

    Parameters
    ----------
    plain
        One line of JSON on standard output when ready, log lines on standard error, no table.
    workers
        Ingest processes that share the stream (1).
    simulate
        F2 controllers to simulate (0).
    agent
        Run an agent too, with an app to try: on this machine's Docker if there is one, else simulated.
    listen
        Address that devices connect to (127.0.0.1); 0.0.0.0 opens broker and certificate authority.
    api_port
        Port of the API (3002, or a free one).
    pki_port
        Port of the certificate authority (8080, or a free one).
    mqtt_port
        Port of the broker (8883, or a free one).
    """
    settings = load_settings(
        UpSettings,
        plain=plain or None,
        workers=workers,
        simulate=simulate,
        agent=agent or None,
        listen_address=listen,
        api_port=api_port,
        pki_port=pki_port,
        mqtt_port=mqtt_port,
    )
    live = not settings.plain and sys.stdout.isatty() and not Console().is_dumb_terminal
    return asyncio.run(Session(settings, screen=_screen if live else None).run())


async def _screen(endpoints: Endpoints, token: str) -> None:
    await show(Api(endpoints.api, token), endpoints.health)
