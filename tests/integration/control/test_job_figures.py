"""What Prometheus is told of jobs: how they stand, what was told to devices, and how it ended."""

from job_cloud import JobCloud, served
from prometheus_client import REGISTRY


def figures():
    named = {
        "announced": ("iotistic_job_deliveries_total", {"way": "announced"}),
        "unsent": ("iotistic_job_deliveries_total", {"way": "unsent"}),
        "fetched": ("iotistic_job_deliveries_total", {"way": "fetched"}),
        "retried": ("iotistic_job_parts_retried_total", {}),
        "succeeded": ("iotistic_job_parts_ended_total", {"status": "SUCCEEDED"}),
        "timed out": ("iotistic_job_parts_ended_total", {"status": "TIMED_OUT"}),
        "canceled": ("iotistic_job_parts_ended_total", {"status": "CANCELED"}),
    }
    return {name: REGISTRY.get_sample_value(*one) or 0 for name, one in named.items()}


def standing():
    return (
        REGISTRY.get_sample_value("iotistic_job_parts_open", {"status": "QUEUED"}),
        REGISTRY.get_sample_value("iotistic_job_parts_open", {"status": "IN_PROGRESS"}),
        REGISTRY.get_sample_value("iotistic_job_longest_wait_seconds"),
    )


async def test_figures_tell_how_jobs_stand_and_how_they_end(pool):
    async with served(JobCloud(pool)) as cloud:
        here, _away = await cloud.device(), await cloud.device()
        before = figures()
        job = await cloud.execute(timeout_minutes=5)
        await here.next()
        cloud.broker.is_away = True
        await cloud.tick()
        cloud.broker.is_away = False
        await cloud.tick(seconds=90)
        await here.told(job, "IN_PROGRESS")
        await cloud.keeper.stand()
        under_way = standing()
        await here.told(job, "SUCCEEDED")
        await here.told(job, "SUCCEEDED")
        await cloud.tick(days=8)
        await cloud.execute()
        await cloud.ask("POST", f"/jobs/executions/{(await cloud.execute())['job_id']}/cancel")
        await cloud.keeper.stand()

    assert under_way == (1, 1, 90)
    assert standing() == (2, 0, 0)
    assert {name: count - before[name] for name, count in figures().items()} == {
        "announced": 1,
        "unsent": 1,
        "fetched": 1,
        "retried": 0,
        "succeeded": 1,
        "timed out": 1,
        "canceled": 2,
    }
