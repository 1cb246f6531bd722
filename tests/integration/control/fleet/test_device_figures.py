"""Figures and processes: stored with the report, asked for by charts."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from iotistic.control.devicemetrics.recorder import MetricsRecorder


def now():
    return datetime.now(UTC).replace(microsecond=0)


async def record(fleet, device, *, minutes_ago, **fields):
    await MetricsRecorder(fleet.pool).record(device.uuid, fields, now() - timedelta(minutes=minutes_ago))


async def test_what_a_report_says_is_stored_when_it_is_acknowledged(fleet):
    device = await fleet.add()
    await device.report(
        cpu_usage=12.5, memory_usage=512, memory_total=1024, temperature=41.5, uptime=60,
        top_processes=[{"pid": 1, "name": "init", "cpu": 1.5, "mem": 2, "more": []}, 7],
        os_version="Debian 13", agent_version="2.0.0", local_ip="10.0.0.7",
    )  # fmt: skip
    metrics = (await fleet.get(f"/devices/{device.uuid}/metrics")).json()
    processes = (await fleet.get(f"/devices/{device.uuid}/processes")).json()
    history = (await fleet.get(f"/devices/{device.uuid}/processes/history")).json()
    (shown,) = (await fleet.get("/devices", q="10.0.0.7")).json()["devices"]

    assert metrics["count"] == 1
    assert (metrics["metrics"][0]["cpu_usage"], metrics["metrics"][0]["cpu_temp"]) == (12.5, 41.5)
    assert processes["top_processes"] == [{"pid": 1, "name": "init", "cpu": 1.5, "mem": 2}]
    assert history["count"] == 1
    assert (shown["os_version"], shown["agent_version"]) == ("Debian 13", "2.0.0")


async def test_a_state_report_without_figures_makes_no_sample(fleet):
    device = await fleet.add()
    await device.report(version=1, apps={})

    assert (await fleet.get(f"/devices/{device.uuid}/metrics")).json()["count"] == 0


@pytest.mark.parametrize("period", ["30min", "6h", "12h", "24h"])
async def test_every_period_of_the_contract_gives_points(fleet, period):
    device = await fleet.add()
    for minutes_ago in range(1, 28, 3):
        await record(fleet, device, minutes_ago=minutes_ago, cpu_usage=minutes_ago)
    answer = (await fleet.get(f"/devices/{device.uuid}/metrics", period=period)).json()

    assert 0 < answer["count"] <= 61
    assert sum(one["samples"] for one in answer["metrics"]) == 9


async def test_points_are_averages_and_maxima_in_order(fleet):
    device = await fleet.add()
    for minutes_ago, cpu in ((50, 10), (45, 30), (10, 90)):
        await record(fleet, device, minutes_ago=minutes_ago, cpu_usage=cpu)
    end = now()
    asked = {"from": (end - timedelta(hours=1)).isoformat(), "to": end.isoformat()}
    answer = (await fleet.get(f"/devices/{device.uuid}/metrics", **asked, points=2)).json()

    assert answer["step_s"] == 1800
    assert [(one["cpu_usage"], one["cpu_usage_max"], one["samples"]) for one in answer["metrics"]] == [
        (20.0, 30.0, 2), (90.0, 90.0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "asked", [{"period": "x"}, {"period": "6h", "points": 0}, {"limit": 0}, {"from": "+1h"}]
)
async def test_what_charts_cannot_show_is_refused(fleet, asked):
    device = await fleet.add()
    answer = await fleet.get(f"/devices/{device.uuid}/metrics", **asked)

    assert answer.status_code in (400, 422)


async def test_reports_at_once_are_each_stored_once(fleet):
    devices = [await fleet.add() for _ in range(5)]
    answers = await asyncio.gather(
        *(device.report(cpu_usage=number) for device in devices for number in range(12))
    )
    counts = [(await fleet.get(f"/devices/{device.uuid}/metrics")).json()["count"] for device in devices]

    assert {one.status_code for one in answers} == {200}
    assert counts == [12] * 5


async def test_many_waiting_samples_share_transactions(fleet):
    device, recorder = await fleet.add(), MetricsRecorder(fleet.pool)
    at, begun = now(), await fleet.pool.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await asyncio.gather(
        *(recorder.record(device.uuid, {"cpu_usage": 1}, at + timedelta(seconds=n)) for n in range(500))
    )
    used = await fleet.pool.fetchval("SELECT pg_current_xact_id()::text::bigint") - begun

    assert await fleet.pool.fetchval("SELECT count(*) FROM device_metrics") == 500
    assert used < 20


async def test_partitions_are_made_ahead_and_dropped_when_they_are_old(fleet):
    device = await fleet.add()
    await record(fleet, device, minutes_ago=0, cpu_usage=1)
    await record(fleet, device, minutes_ago=60 * 24 * 92, cpu_usage=1)
    first = await fleet.keeper.keep()
    second = await fleet.keeper.keep()
    left = await fleet.pool.fetchval("SELECT count(*) FROM device_metrics")

    assert [name.rpartition("_")[0] for name in first.dropped] == ["device_metrics", "device_processes"]
    assert (second.made, second.dropped, left) == (0, [], 1)
