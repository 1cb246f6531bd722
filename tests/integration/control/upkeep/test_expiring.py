"""Certificates near their end: of agents and of controllers, the newest of each, and none that is gone."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from iotistic.control.devices.model import NewDevice
from iotistic.control.devices.repository import add
from iotistic.control.upkeep.looking import Expiring

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def expiring(pool):
    return Expiring(pool, days=30, clock=lambda: NOW)


async def agent(pool, *ends_in_days, revoked=False, known=True):
    """Return a device with certificates that end so many days from now, made in this order."""
    uuid = str(uuid4())
    if known:
        await add(pool, NewDevice(uuid=uuid, name="press", type="gateway", fleet_id="hall"), NOW)
    for days in ends_in_days:
        await pool.execute(
            "INSERT INTO device_certificates VALUES ($1, $2::text::uuid, '', '', $3, $4, $5)",
            uuid4().hex, uuid, NOW, NOW + timedelta(days=days), NOW if revoked else None,
        )  # fmt: skip
    return uuid


async def controller(pool, mac, days):
    await pool.execute(
        "INSERT INTO certificates VALUES ($1, 'device', $2, '', $3, $4, $3, 'operator')",
        uuid4().hex, mac, NOW - timedelta(days=365), NOW + timedelta(days=days),
    )  # fmt: skip


async def test_the_newest_certificate_of_each_device_counts(pool, expiring):
    stuck = await agent(pool, 5)
    await agent(pool, 5, 300)
    await agent(pool, 31)
    await agent(pool, 5, revoked=True)
    await agent(pool, 5, known=False)
    await agent(pool, -31)
    over = await agent(pool, -1)
    await controller(pool, "aabbccddee01", 10)
    await controller(pool, "aabbccddee02", 10)
    await controller(pool, "aabbccddee02", 100)
    found = await expiring.look()

    assert found["expiring"] == 3
    assert [(one["of"], one["kind"], one["is_over"]) for one in found["first"]] == [
        (over, "agent", True),
        (stuck, "agent", False),
        ("aabbccddee01", "device", False),
    ]


async def test_of_many_some_are_named_and_all_counted(pool, expiring):
    for number in range(25):
        await controller(pool, f"aabbccddee{number:02x}", 1)
    found = await expiring.look()

    assert (found["expiring"], len(found["first"])) == (25, 20)
