"""Health and figures of `up` itself: whether all parts run, and what it counts of the broker's log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.up.ports import LOOPBACK
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.home import Home
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.server import WebServer, serve


class PartsDown(Unavailable):
    """Parts of the installation do not run at the moment."""

    code = "up.parts_down"


@dataclass
class Observer:
    """A small server on loopback, as one more part; `states` says for each part whether it runs."""

    home: Home
    port: int
    states: Callable[[], Mapping[str, bool]]
    name: str = "up"
    _server: WebServer | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """The log of `up`."""
        return self.home.logs / "up.log"

    @property
    def health_url(self) -> str:
        """Its readiness: all parts run."""
        return f"http://{LOOPBACK}:{self.port}/health/ready"

    async def start(self) -> None:
        """Start serving. Raises AddressTaken."""
        app = create_app(
            title="Iotistic up",
            version=catalogue.version(),
            description="Health of the installation's parts and figures of its broker.",
            checks={"parts": self._check},
        )
        self._server = await serve(app, host=LOOPBACK, port=self.port)

    async def _check(self) -> None:
        if down := sorted(name for name, runs in self.states().items() if not runs):
            raise PartsDown(f"{', '.join(down)} not running", parts=down)

    async def wait(self) -> int:
        """Return once it has ended."""
        if self._server is not None:
            await self._server.wait()
        return 0

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            await self._server.stop()

    def kill(self) -> None:
        """Do nothing: it ends with this process."""
