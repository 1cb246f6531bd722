"""One run of `iotistic up`: start, stay, stop.

    start --ready--> stay --first signal--> stop --second signal--> kill

A signal while starting stops what has started. The exit code is 0 after an orderly stop, 130 after a
forced one, and the error's own when starting failed.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field

import structlog

from iotistic.entrypoints.installation import Endpoints
from iotistic.entrypoints.up import lock, try_out
from iotistic.entrypoints.up.logconsole import LogConsole
from iotistic.entrypoints.up.logkeeper import kept_small
from iotistic.entrypoints.up.owner import Login
from iotistic.entrypoints.up.progress import Progress
from iotistic.entrypoints.up.reach import in_url, reach
from iotistic.entrypoints.up.runner import Runner
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.entrypoints.up.supervisor import Event, PartDied, PartRestarted, Supervisor
from iotistic.kernel.logging import configure_logging

_FORCED = 130
_log = structlog.get_logger()

Screen = Callable[[Endpoints, str], Awaitable[None]]
"""Shows the running installation (its endpoints, its token) until cancelled."""


@dataclass
class Session:
    """Runs one installation until a signal."""

    settings: UpSettings
    screen: Screen | None
    progress: Progress = field(default_factory=Progress)
    _asked: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _forced: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> int:
        """Start, stay until SIGINT, SIGTERM or SIGHUP, stop; return the exit code."""
        home = self.settings.home
        home.create()
        with lock.held(home), _log_file(self.settings):
            home.endpoints.unlink(missing_ok=True)
            self._catch_signals()
            supervisor = Supervisor(self._hear)
            try:
                async with kept_small(home.logs):
                    await self._until_asked(self._start_and_stay(supervisor))
            finally:
                home.endpoints.unlink(missing_ok=True)
                code = await self._stop(supervisor)
            return code

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has SIGHUP ignored, and means it. A background job of a script has SIGINT ignored too,
            # but `kill -INT` is how programs ask us to stop.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        (self._forced if self._asked.is_set() else self._asked).set()

    async def _until_asked(self, work: Awaitable[None]) -> None:
        """Run `work` until it ends or a signal asks for the end; raise what it raised."""
        working = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self._asked.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    async def _start_and_stay(self, supervisor: Supervisor) -> None:
        console = LogConsole(self.settings.home.logs)
        runner = Runner(self.settings, supervisor, self.progress)
        endpoints = await runner.start()
        _log.info("installation.started", api=endpoints.api, mqtt=endpoints.mqtt, pki=endpoints.pki)
        if self.settings.plain:
            _print_ready(endpoints, runner.token, runner.login)
        else:
            self._introduce(runner, endpoints)
        if self.screen is None:
            await console.run()
        else:
            await self.screen(endpoints, runner.token)
            await self._asked.wait()

    def _introduce(self, runner: Runner, endpoints: Endpoints) -> None:
        say, where = self.progress.note, reach(self.settings, runner.ports)
        say(f"API and its documentation: {endpoints.api}/docs")
        say(f"devices connect to {where.url}")
        if not self.settings.mqtt_broker_url:
            port = runner.ports["mqtt_account"].port
            say(f"those with a password instead of a certificate to port {port}")
        say(f"devices get certificates from https://{in_url(where.host)}:{runner.ports['pki'].port}")
        if where.is_local:
            say("no other machine can follow that; --listen 0.0.0.0 opens it, DEVICE_MQTT_URL says where to")
        if self.settings.agent:
            say(try_out.introduction(endpoints.api, runner.ports["device_api"].port))
        token_file = runner.home.api_token
        if runner.first_run:
            say(f"token for the API, made once:\n      {runner.token}\n      kept in {token_file}")
        else:
            say(f"the token is in {token_file}")
        if runner.login is not None:
            password = runner.login.password.get_secret_value()
            say(
                f"the owner's login, told this once:\n      {runner.login.username}  {password}\n      "
                "another one: iotistic users create-owner NAME --email ADDRESS --another"
            )

    def _hear(self, event: Event) -> None:
        match event:
            case PartDied(name, status, restart_in_s, in_a_row, tail):
                how = "did not start again" if status is None else f"ended with status {status}"
                _log.warning("part.died", part=name, status=status, in_a_row=in_a_row)
                if event.is_loop:
                    self.progress.warn(f"{name} {how}, {in_a_row} times in a row; its last lines:\n{tail}")
                else:
                    self.progress.note(f"{name} {how}; starting it again in {restart_in_s:g} s")
            case PartRestarted(name, deaths):
                _log.info("part.restarted", part=name, deaths=deaths)
                self.progress.note(f"{name} runs again")

    async def _stop(self, supervisor: Supervisor) -> int:
        stopping = asyncio.ensure_future(
            supervisor.stop(lambda names: self.progress.note(f"stopping {names}"))
        )
        forced = asyncio.ensure_future(self._forced.wait())
        await asyncio.wait({stopping, forced}, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if stopping.done():
            await stopping
            return 0
        stopping.cancel()
        supervisor.kill()
        self.progress.warn("stopped at once; the next start takes longer, nothing acknowledged is lost")
        return _FORCED


@contextlib.contextmanager
def _log_file(settings: UpSettings) -> Generator[None]:
    with (settings.home.logs / "up.log").open("a", encoding="utf-8", buffering=1) as file:
        os.fchmod(file.fileno(), 0o600)
        configure_logging(settings, process="up", stream=file)
        yield


def _print_ready(endpoints: Endpoints, token: str, login: Login | None) -> None:
    line: dict[str, object] = {
        "ready": True,
        "home": endpoints.home,
        "api": endpoints.api,
        "token": token,
        "mqtt": endpoints.mqtt,
        "pki": endpoints.pki,
        "ca": endpoints.ca,
    }
    if login is not None:
        line["owner"] = {"username": login.username, "password": login.password.get_secret_value()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
