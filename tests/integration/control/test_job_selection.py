"""Who is selected: filters on a real PostgreSQL, compared with what they mean."""

import json

import pytest
from device_cloud import code_of
from job_cloud import JobCloud, document, order, served

ODD = "x'; DROP TABLE fleet_devices; --"
FLEET = {
    "a": {"name": "press 1", "type": "gateway", "fleet_id": "hall-1", "agent_version": "1.9.0"},
    "b": {"name": "press 2", "type": "gateway", "fleet_id": "hall-2", "agent_version": "1.10.2"},
    "c": {"name": "oven%", "type": "sensor", "fleet_id": "hall-1", "agent_version": "v2.0.0-rc1"},
    "d": {"name": ODD, "type": "sensor", "fleet_id": "hall-3", "agent_version": "nightly"},
    "off": {"name": "press 3", "type": "gateway", "fleet_id": "hall-1", "is_active": False},
}
TAGS = {"a": {"line": "1", "site": "north"}, "b": {"line": "2"}, "d": {"line": ODD}}


@pytest.fixture
async def cloud(pool):
    async with served(JobCloud(pool)) as cloud:
        cloud.names = {}
        for name, columns in FLEET.items():
            device = await cloud.device(**columns)
            cloud.names[str(device.uuid)] = name
            for key, value in TAGS.get(name, {}).items():
                await pool.execute(
                    "INSERT INTO device_tags (device_uuid, key, value) VALUES ($1, $2, $3)",
                    device.uuid,
                    key,
                    value,
                )
        yield cloud


async def selected(cloud, asked):
    body = {"target_type": "group", "target_filter": asked}
    answer = await cloud.ask("POST", "/jobs/preview", body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["total"] == len(found["devices"])
    return "".join(sorted(cloud.names[one] for one in found["devices"]))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"type": "gateway"}, "ab"),
        ({"device_type": "sensor", "fleet_id": "hall-1"}, "c"),
        ({"fleet_id": ["hall-1", "hall-3"]}, "acd"),
        ({"fleet_id": {"ne": "hall-1"}}, "bd"),
        ({"fleet_id": {"not_in": ["hall-1", "hall-2"]}}, "d"),
        ({"name": {"starts_with": "press"}}, "ab"),
        ({"name": {"contains": "%"}}, "c"),
        ({"name": ODD}, "d"),
        ({"name": {"contains": "'; DROP"}}, "d"),
        ({"agent_version": {"lt": "1.10"}}, "a"),
        ({"agent_version": {"ge": "1.9", "lt": "2"}}, "ab"),
        ({"agent_version": {"ge": "2"}}, "c"),
        ({"not": {"agent_version": {"lt": "2"}}}, "cd"),
        ({"tags": {"line": "1"}}, "a"),
        ({"tags": {"line": ["1", "2"]}}, "ab"),
        ({"tags": {"line": {"ne": "1"}}}, "bcd"),
        ({"tags": {"line": {"not_in": ["1", "2"]}}}, "cd"),
        ({"tags": {"line": {"exists": True}}}, "abd"),
        ({"tags": {"line": {"exists": False}}}, "c"),
        ({"tags": {"line": "1", "site": "south"}}, ""),
        ({"tags": {"line": {"starts_with": "x'"}}}, "d"),
        ({"tags": {"x') OR true --": "1"}}, ""),
        ({"any": [{"tags": {"site": "north"}}, {"name": "oven%"}]}, "ac"),
        ({"all": [{"type": "gateway"}, {"not": {"fleet_id": "hall-2"}}]}, "a"),
        ({"any": [{"type": "gateway"}, {}]}, "abcd"),
        ({"created_at": {"lt": "2020-01-01T00:00:00Z"}}, ""),
        ({"number": {"ge": 0}}, "abcd"),
        ({"uuid": ["00000000-0000-0000-0000-000000000001"]}, ""),
    ],
)
async def test_a_filter_selects_what_it_says(cloud, asked, expected):
    assert await selected(cloud, asked) == expected


async def test_a_job_for_a_group_is_for_those_that_the_preview_shows(cloud):
    job = await cloud.execute(target_type="group", target_filter={"fleet_id": "hall-1", "type": "gateway"})
    parts = (await cloud.job(job))["device_statuses"]

    assert [cloud.names[one["device_uuid"]] for one in parts] == ["a"]
    assert job["target_filter"] == {"fleet_id": "hall-1", "type": "gateway"}


async def test_devices_are_named_one_by_one(cloud):
    ids = {name: uuid for uuid, name in cloud.names.items()}
    job = await cloud.execute(target_type="device", target_devices=[ids["b"], ids["off"], ids["b"]])
    nowhere = "00000000-0000-0000-0000-000000000001"
    unknown = await cloud.ask(
        "POST", "/jobs", order(target_type="device", target_devices=[ids["b"], nowhere])
    )

    assert job["summary"]["total"] == 2
    assert code_of(unknown) == (400, "job.devices_unknown")
    assert nowhere in unknown.text


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"target_type": "group", "target_filter": {"fleet_id": "nowhere"}}, 409, "job.nobody_selected"),
        ({"target_type": "group", "target_filter": {"1=1; --": "x"}}, 400, "job.filter_invalid"),
        ({"target_type": "group"}, 400, "job.order_invalid"),
        ({"target_type": "all", "target_filter": {"name": "x"}}, 400, "job.order_invalid"),
        ({"job_document": None}, 400, "job.order_invalid"),
        ({"job_document": {"version": "1.0", "steps": []}}, 400, "job.document_invalid"),
        ({"job_document": document(more=1)}, 400, "job.document_invalid"),
        ({"job_document": document("x" * 32_000, *["y" * 32_000] * 9)}, 400, "job.document_invalid"),
        ({"job_document": document("\ud800")}, 400, "job.document_invalid"),
        ({"template_id": "00000000-0000-0000-0000-000000000001"}, 400, "job.order_invalid"),
        (
            {"job_document": None, "template_id": "00000000-0000-0000-0000-000000000001"},
            404,
            "job.template_unknown",
        ),
        ({"execution_type": "oneTime", "schedule": {"interval_minutes": 5}}, 400, "job.order_invalid"),
        (
            {"execution_type": "continuous", "schedule": {"cron_expression": "* * * * *"}},
            400,
            "job.order_invalid",
        ),
        ({"execution_type": "recurring"}, 400, "job.order_invalid"),
        ({"schedule": {"scheduled_at": "9999-12-31T00:00:00Z"}}, 400, "job.order_invalid"),
    ],
)
async def test_an_order_that_cannot_be_is_refused_with_its_reason_and_leaves_nothing(
    cloud, changes, status, code
):
    answer = await cloud.client.post(
        "/jobs",
        content=json.dumps(order(**changes)),
        headers={"Authorization": "Bearer owner", "Content-Type": "application/json"},
    )

    assert code_of(answer) == (status, code)
    assert await cloud.pool.fetchval("SELECT count(*) FROM job_executions") == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"job_name": ""},
        {"job_name": "a\0b"},
        {"timeout_minutes": 0},
        {"timeout_minutes": 10**9},
        {"max_attempts": 11},
        {"target_type": "fleet"},
        {"target_devices": ["x"]},
        {"unknown": 1},
        {"schedule": {"scheduled_at": "2026-05-17T10:00:00"}},
    ],
)
async def test_a_body_of_another_shape_is_refused(cloud, changes):
    answer = await cloud.ask("POST", "/jobs", order(**changes))

    assert answer.status_code == 422
    assert answer.json()["code"] == "request.invalid"


async def test_templates_and_handlers_make_jobs(cloud):
    step = {"name": "clean", "type": "runHandler", "input": {"handler": "clean.sh"}}
    final = {"name": "tell", "type": "runHandler", "input": {"handler": "clean.sh", "args": ["own"]}}
    template = {
        "name": "Clean up",
        "category": "care",
        "job_document": {"version": "1.0", "steps": [step], "finalStep": final},
    }
    handler = {
        "name": "clean.sh",
        "script_type": "bash",
        "script_content": 'rm -rf "$1"',
        "default_args": ["/var/tmp/x"],
    }
    made = (await cloud.ask("POST", "/jobs/templates", template)).json()["template"]
    kept = (await cloud.ask("POST", "/jobs/handlers", handler)).json()["handler"]
    job = await cloud.execute(job_document=None, template_id=made["id"])
    twice = await cloud.ask("POST", "/jobs/templates", {**template, "name": "clean UP"})
    twin = await cloud.ask("POST", "/jobs/handlers", handler)
    path = f"/jobs/templates/{made['id']}"
    bad = await cloud.ask("PUT", path, {"job_document": {"steps": []}})
    changed = (await cloud.ask("PUT", path, {"is_active": False, "description": "old"})).json()["template"]
    off = await cloud.ask("POST", "/jobs", order(job_document=None, template_id=made["id"]))
    listed = (await cloud.ask("GET", "/jobs/templates?is_active=false&category=care", role="viewer")).json()
    removed = await cloud.ask("DELETE", path)
    other = await cloud.ask("PATCH", f"/jobs/handlers/{kept['id']}", {"default_args": []})
    handlers = (await cloud.ask("GET", "/jobs/handlers", role="viewer")).json()
    await cloud.ask("DELETE", f"/jobs/handlers/{kept['id']}")

    sent = job["job_document"]
    assert [sent["steps"][0]["input"]["args"], sent["finalStep"]["input"]["args"]] == [
        ["/var/tmp/x"],
        ["own"],
    ]
    assert (code_of(twice), code_of(twin)) == ((409, "job.name_taken"),) * 2
    assert code_of(bad) == (400, "job.document_invalid")
    assert (changed["is_active"], changed["description"], changed["name"]) == (False, "old", "Clean up")
    assert code_of(off) == (409, "job.template_inactive")
    assert [one["id"] for one in listed["templates"]] == [made["id"]]
    assert handlers == {"handlers": [other.json()["handler"]], "next_after": None}
    assert removed.status_code == 200
    assert other.json()["handler"]["default_args"] == []
    assert code_of(await cloud.ask("GET", path)) == (404, "job.template_unknown")
    assert code_of(await cloud.ask("GET", f"/jobs/handlers/{kept['id']}")) == (404, "job.handler_unknown")
    assert (await cloud.job(job))["job"]["template_id"] is None
