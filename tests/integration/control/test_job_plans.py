"""What devices and keepers ask all day reads by index, also past thousands of devices and jobs."""

import uuid

import pytest
from job_cloud import JobCloud

DEVICES, JOBS = 3000, 30
NEXT = (
    "SELECT 1 FROM device_job_status p JOIN job_executions j ON j.id = p.job_id WHERE p.device_uuid = $1 AND p.waits "
    "AND (p.status = 'CANCELED' OR (p.available_at <= $2 AND p.deadline > $2)) "
    "ORDER BY (p.status = 'CANCELED') DESC, p.queued_at, p.job_id LIMIT 1"
)
LATE = "SELECT 1 FROM device_job_status p WHERE p.finished_at IS NULL AND p.deadline <= $1 ORDER BY p.deadline LIMIT 100"
OPEN = "SELECT EXISTS (SELECT 1 FROM device_job_status WHERE job_id = $1 AND finished_at IS NULL)"
TELL = "SELECT 1 FROM device_job_status WHERE notify_at <= $1 ORDER BY notify_at LIMIT 100"


@pytest.fixture
async def cloud(pool):
    cloud = JobCloud(pool)
    await pool.execute(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id) "
        "SELECT gen_random_uuid(), 'press', 'gateway', 'hall' FROM generate_series(1, $1::int)",
        DEVICES,
    )
    await pool.execute(
        "INSERT INTO job_executions (name, document, selection, timeout_s, wait_s, attempts, backoff_s, execution_type, "
        "starts_at, opened_at, created_by, created_at) SELECT 'job', '{}', '{}', 60, 60, 1, 1, 'oneTime', now(), now(), "
        "'test', now() FROM generate_series(1, $1::int)",
        JOBS,
    )
    await pool.execute(
        "INSERT INTO device_job_status (job_id, device_uuid, status, queued_at, available_at, deadline, finished_at) "
        "SELECT j.id, d.uuid, 'SUCCEEDED', now(), now(), now(), now() FROM job_executions j, fleet_devices d"
    )
    await pool.execute("ANALYZE device_job_status, job_executions, fleet_devices")
    return cloud


async def plan_of(pool, statement, *values):
    rows = await pool.fetch(f"EXPLAIN {statement}", *values)
    return "\n".join(row[0] for row in rows)


async def test_each_reads_its_own_index(cloud):
    now = cloud.clock()
    plans = [
        await plan_of(cloud.pool, NEXT, uuid.uuid4(), now),
        await plan_of(cloud.pool, LATE, now),
        await plan_of(cloud.pool, TELL, now),
        await plan_of(cloud.pool, OPEN, uuid.uuid4()),
    ]

    assert "using device_job_status_waits" in plans[0]
    assert "using device_job_status_deadline" in plans[1]
    assert "using device_job_status_notify" in plans[2]
    assert not [plan for plan in plans if "Seq Scan on device_job_status" in plan]
