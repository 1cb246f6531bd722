"""The control plane over real HTTP and a real database, with devices that have an agent, and some that have none."""

import contextlib
import itertools
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import numpy as np
from pydantic import SecretStr

from iotistic.control.anomalies.settings import AnomalyDeskSettings
from iotistic.control.anomalies.teaching import AnomalyKeeper
from iotistic.control.anomalies.turn import Turn
from iotistic.control.devices.keys import make_api_key
from iotistic.control.devices.model import NewDevice
from iotistic.control.devices.repository import add
from iotistic.entrypoints.api import BASE, add_control, create_api_app
from iotistic.entrypoints.control.anomalies import RolloutParts
from iotistic.entrypoints.control.rooms import ControlPlane, Ground
from iotistic.entrypoints.control.settings import ControlSettings, made_secrets
from iotistic.kernel.home import Home
from iotistic.kernel.web.server import serve
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.model import Resolved, Rows
from iotistic.telemetry.sink.sink import Sink

OPERATOR = "operator-token-of-the-tests"
QUICK = {"anomaly_stream_settle_s": 0.0, "anomaly_stream_core_share": 1.0}
_names = itertools.count(1)


class Silent:
    """A broker that takes everything."""

    async def publish(self, topic, payload, *, expiry_s=None):
        """Take it."""


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += timedelta(seconds=seconds)


@dataclass
class AnomalySite:
    """What runs."""

    pool: object
    database: object
    control: ControlPlane
    client: httpx2.AsyncClient
    clock: Clock
    sink: Sink = field(init=False)

    def __post_init__(self):
        self.sink = Sink(self.database, application_name="test")

    async def get(self, path, **params):
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def listed(self, **params):
        return (await self.get("/anomalies", **params))["items"]

    async def judge(self, anomaly, verdict):
        answer = await self.client.post(f"/anomalies/{anomaly['id']}/feedback", json={"verdict": verdict})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def agent(self):
        """Return uuid and key of a device with an agent."""
        uuid, key = str(uuid4()), make_api_key()
        async with self.pool.acquire() as db, db.transaction():
            device = NewDevice(uuid=uuid, name="press 7", type="gateway", fleet_id="hall")
            await add(db, device, self.clock())
            await self.control.devices.register_key(db, uuid, key)
            await self.control.states.begin(db, uuid)
        return uuid, key

    async def report(self, agent, **fields):
        uuid, key = agent
        return await self.client.patch(
            "/device/state", json={uuid: fields}, headers={"X-Device-API-Key": key}
        )

    async def series(self, label="flow", *, uuid=None, age_s=0.0):
        """Return the ids of a new series, which was seen first so long ago."""
        template = await self.pool.fetchval("SELECT id FROM devicetemplates ORDER BY id LIMIT 1")
        device = await self.pool.fetchval(
            "INSERT INTO devices (devicename, devicetemplateid, uuid) "
            "VALUES ($1, $2, coalesce($3::text::uuid, gen_random_uuid())) RETURNING id",
            f"pump {next(_names)}",
            template,
            uuid,
        )
        datapoint = await self.pool.fetchval(
            "INSERT INTO datapoints (devicetemplateid, label, append) VALUES ($1, $2, ' l/s') "
            "ON CONFLICT (devicetemplateid, label) DO UPDATE SET label = EXCLUDED.label RETURNING id",
            template,
            label,
        )
        await self.pool.execute(
            "INSERT INTO device_datapoints VALUES ($1, $2, $3)",
            device,
            datapoint,
            self.clock() - timedelta(seconds=age_s),
        )
        return device, datapoint

    async def store(self, series, start, values, every_s=1.0):
        """Store readings as an ingest worker does; return the time after the last one."""
        times = [start + timedelta(seconds=every_s * place) for place in range(len(values))]
        rows = Rows(
            device_id=np.full(len(values), series[0], np.int32),
            datapoint_id=np.full(len(values), series[1], np.int32),
            time_us=np.array([round(at.timestamp() * 1e6) for at in times], np.int64),
            value=np.array(values, np.float64),
        )
        await self.sink.write(Resolved(rows, [], [], round(datetime.now(UTC).timestamp() * 1e6)))
        return start + timedelta(seconds=every_s * len(values))

    def turn(self, db, **settings):
        return Turn(db, AnomalyDeskSettings(**(QUICK | settings)), self.clock)

    @contextlib.asynccontextmanager
    async def watching(self, **settings):
        """Give a turn of the watch."""
        async with self.pool.acquire() as db:
            yield self.turn(db, **settings)

    def keeper(self, **changes):
        around = {"updating": RolloutParts(self.pool), "trail": self.control.trail, "clock": self.clock}
        return AnomalyKeeper(self.pool, AnomalyDeskSettings(), **(around | changes))


async def look(turn):
    """Look until nothing waits."""
    while await turn.look():
        pass


@contextlib.asynccontextmanager
async def anomaly_site(pool, database, folder):
    home, clock = Home(folder / "home"), Clock()
    settings = ControlSettings(**made_secrets(home))
    ground = Ground(
        pool=pool, home=home, settings=settings, publisher=Silent(), operator=SecretStr(OPERATOR), clock=clock
    )
    control = ControlPlane.of(ground)
    app = create_api_app(pool, LiveHub(folder), Silent(), gate=control.gate(base=BASE))
    add_control(app, control)
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}{BASE}",
            verify=False,
            headers={"Authorization": f"Bearer {OPERATOR}"},
            timeout=30,
        ) as client,
    ):
        started = AnomalySite(pool, database, control, client, clock)
        yield started
        await started.sink.close()
    control.close()


def wave(count, first=0, **spikes):
    """Return an ordinary signal, with other values at places such as `_250=45.0`."""
    values = [20 + math.sin(1.3 * (first + place)) for place in range(count)]
    for place, value in spikes.items():
        values[int(place[1:])] = value
    return values
