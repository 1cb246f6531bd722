"""What jobs leave in the audit trail: who had what run where; never the commands themselves."""

from job_cloud import JobCloud, document, order, served

from iotistic.control.audit.trail import AuditTrail


async def test_every_change_is_noted_and_no_refusal_is(pool):
    secret = document("mysql", "--password=hunter2-secret")
    async with served(JobCloud(pool, trail=AuditTrail())) as cloud:
        device = await cloud.device()
        template = {"name": "clean", "job_document": secret}
        handler = {"name": "x.sh", "script_type": "bash", "script_content": "echo hunter2-secret"}
        made = (await cloud.ask("POST", "/jobs/templates", template)).json()["template"]
        kept = (await cloud.ask("POST", "/jobs/handlers", handler)).json()["handler"]
        await cloud.ask("PATCH", f"/jobs/templates/{made['id']}", {"category": "care"})
        await cloud.ask("PATCH", f"/jobs/handlers/{kept['id']}", {"description": "x"})
        await cloud.ask("POST", "/jobs/templates", template)
        await cloud.ask("POST", "/jobs", order(target_type="group", target_filter={"name": "nobody"}))
        job = await cloud.execute(job_document=secret)
        await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/devices/{device.uuid}/cancel")
        await cloud.ask("POST", f"/jobs/executions/{job['job_id']}/cancel")
        other = await cloud.execute(job_document=secret)
        await cloud.ask("POST", f"/jobs/executions/{other['job_id']}/cancel")
        await cloud.ask("DELETE", f"/jobs/{other['job_id']}")
        schedule = (await cloud.ask("POST", "/jobs/schedules", order(interval_minutes=5))).json()["schedule"]
        await cloud.ask("POST", f"/jobs/schedules/{schedule['schedule_id']}/pause")
        await cloud.ask("DELETE", f"/jobs/schedules/{schedule['schedule_id']}")
        await cloud.ask("DELETE", f"/jobs/templates/{made['id']}")
        await cloud.ask("DELETE", f"/jobs/handlers/{kept['id']}")
    rows = await pool.fetch("SELECT * FROM audit_logs ORDER BY id")

    assert [row["event_type"] for row in rows] == [
        "job_template.created",
        "job_handler.created",
        "job_template.changed",
        "job_handler.changed",
        "job.created",
        "job.part_cancelled",
        "job.created",
        "job.cancelled",
        "job.removed",
        "job_schedule.created",
        "job_schedule.changed",
        "job_schedule.removed",
        "job_template.removed",
        "job_handler.removed",
    ]
    assert {row["actor_type"] + ":" + row["actor_id"] for row in rows} == {"api-key:owner"}
    assert "hunter2" not in "".join(str(dict(row)) for row in rows)
