"""The API on a free port over the test's database."""

import asyncio
from pathlib import Path

import httpx2
import pytest
from api_builders import AUTH, Store, operator_gate

from iotistic.entrypoints.api import PREFIX, create_api_app
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.web.server import serve
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.storage.roller import Roller, roll_due
from iotistic.telemetry.storage.settings import RollupSettings


class RecordingPublisher:
    """A broker's stand-in that keeps what it acknowledged, and can be away."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.away_after: int | None = None

    async def publish(self, topic: str, payload: bytes) -> None:
        if self.away_after is not None and len(self.published) >= self.away_after:
            raise Unavailable("the broker is away")
        self.published.append((topic, payload))


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
async def hub(run_folder: Path):
    hub = LiveHub(run_folder, scan_s=0.02)
    running = asyncio.create_task(hub.run())
    yield hub
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def app(pool, hub, publisher):
    return create_api_app(pool, hub, publisher, gate=operator_gate())


@pytest.fixture
async def server(app):
    async with await serve(app, host="127.0.0.1", port=0) as running:
        yield running


@pytest.fixture
async def anonymous(server):
    async with httpx2.AsyncClient(
        verify=False, base_url=f"http://127.0.0.1:{server.port}", timeout=20
    ) as client:
        yield client


@pytest.fixture
async def api(server):
    base = f"http://127.0.0.1:{server.port}{PREFIX}"
    async with httpx2.AsyncClient(verify=False, base_url=base, headers=AUTH, timeout=20) as client:
        yield client


@pytest.fixture
def store(connection) -> Store:
    return Store(connection)


@pytest.fixture
def roll(pool):
    roller = Roller(pool, RollupSettings())

    async def rolled(now):
        return await roll_due(roller, now)

    return rolled
