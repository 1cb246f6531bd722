"""The tasks of the product: each is carried out on a real database, and none is done by a loop as well."""

import json

import pytest
from pydantic import SecretStr
from upkeep_builders import Upkeep

from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.audit.keeper import AuditKeeper
from iotistic.control.history.keeper import HistoryKeeper
from iotistic.control.jobs.keeper import JobKeeper
from iotistic.entrypoints.control.rooms import ControlPlane, Ground
from iotistic.entrypoints.control.settings import ControlSettings
from iotistic.entrypoints.control.upkeep import Keepers, upkeep_tasks, watched_work
from iotistic.kernel.home import Home


class Silent:
    """A broker that takes everything."""

    async def publish(self, topic, payload, *, expiry_s=None):
        """Take it."""


@pytest.fixture
def tasks(pool, tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    secrets = (
        "alert_signing_secret",
        "broker_auth_token",
        "broker_secret",
        "provisioning_secret",
        "jwt_secret",
    )
    settings = ControlSettings(**dict.fromkeys(secrets, "secret " * 8))
    ground = Ground(pool=pool, home=home, settings=settings, publisher=Silent(), operator=SecretStr("o" * 16))
    control = ControlPlane.of(ground)
    keepers = Keepers(
        alerts=AlertKeeper(pool, settings, forgets=False),
        audit=AuditKeeper(pool, settings, keeps=False),
        history=HistoryKeeper(pool, settings, keeps=False),
        jobs=JobKeeper(pool, settings, control.jobs.schedules, clock=ground.clock, forgets=False),
    )
    yield upkeep_tasks(control, keepers)
    control.close()


async def test_every_task_of_the_product_does_its_work(pool, tasks):
    upkeep = Upkeep(pool)
    keeper = upkeep.keeper(*tasks)
    await upkeep.at(keeper)
    for task in tasks:
        await upkeep.service.ask(task.name, by="user:ada")
    while any(one.open_run for one in await upkeep.service.tasks()):
        await upkeep.at(keeper)
    last = {one.standing.name: one.last_run for one in await upkeep.service.tasks()}

    assert {name: (run.outcome.value, run.error) for name, run in last.items()} == dict.fromkeys(
        (task.name for task in tasks), ("succeeded", "")
    )
    assert json.loads(last["database-statistics"].output)["analysed"] >= 12
    assert json.loads(last["licence-refresh"].output)["skipped"]
    assert json.loads(last["certificates-expiring"].output) == {"expiring": 0, "first": []}


async def test_what_the_maintenance_process_does_is_shown_with_its_figures(pool):
    upkeep = Upkeep(pool, watched=watched_work(pool))
    seen = {one.watched.name: (one.fault, one.figures) for one in await upkeep.service.watched()}

    assert {name: fault for name, (fault, _) in seen.items()} == {
        "telemetry-rollups": None,
        "telemetry-retention": None,
    }
    assert seen["telemetry-rollups"][1]["waiting_up_to_10000"] == 0
