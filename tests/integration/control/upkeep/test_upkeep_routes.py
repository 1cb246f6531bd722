"""/tasks over HTTP: who may look, who may drive, and what is refused."""

import pytest
from upkeep_builders import Upkeep, served

from iotistic.control.audit.trail import AuditTrail
from iotistic.control.upkeep.model import Watched

READS = ("/tasks", "/tasks/status", "/tasks/sweep", "/tasks/sweep/runs/1")


def signed_in(role):
    return {"Authorization": f"Bearer {role}"}


async def listed(pool, **changes):
    """Return a list that a keeper looks after, its task done once."""

    async def figures():
        return {"waiting": 7}

    watched = Watched(
        name="telemetry-rollups", summary="x", schedule="all the time", where="maintenance", look=figures
    )
    upkeep = Upkeep(pool, watched=[watched], **changes)
    await upkeep.at(upkeep.keeper(upkeep.task(is_soon=True)))
    return upkeep


async def test_the_list_tells_last_and_next_run_and_what_others_do(pool):
    upkeep = await listed(pool)
    async with served(upkeep) as client:
        tasks = (await client.get("/tasks", headers=signed_in("viewer"))).json()["tasks"]
        detail = (await client.get("/tasks/sweep", headers=signed_in("viewer"))).json()
        run_id = detail["runs"][0]["id"]
        run = (await client.get(f"/tasks/sweep/runs/{run_id}", headers=signed_in("viewer"))).json()["run"]
        status = (await client.get("/tasks/status", headers=signed_in("viewer"))).json()
        others = (await client.get("/tasks/telemetry-rollups", headers=signed_in("viewer"))).json()

    sweep, rollups = tasks
    assert (sweep["status"], sweep["schedule"], sweep["next_run_at"]) == (
        "idle",
        "0 * * * *",
        "2026-03-02T13:00:00Z",
    )
    assert (sweep["last_run"]["outcome"], sweep["last_run"]["output"]) == ("succeeded", {"swept": 3})
    assert (rollups["is_read_only"], rollups["where"], rollups["figures"]) == (
        True,
        "maintenance",
        {"waiting": 7},
    )
    assert run == detail["runs"][0] == sweep["last_run"]
    assert (status["is_attended"], status["tasks"], status["overdue"], status["failing"]) == (True, 1, [], [])
    assert others["runs"] == []


async def test_run_now_names_a_run_that_a_keeper_takes_up(pool):
    upkeep = await listed(pool)
    async with served(upkeep) as client:
        asked = await client.post("/tasks/sweep/run", headers=signed_in("admin"))
        waiting = (await client.get("/tasks/sweep", headers=signed_in("viewer"))).json()["task"]["status"]
        await upkeep.at(upkeep.keeper())
        path = f"/tasks/sweep/runs/{asked.json()['run']['id']}"
        run = (await client.get(path, headers=signed_in("viewer"))).json()["run"]

    assert (asked.status_code, asked.json()["run"]["outcome"], waiting) == (202, "waiting", "waiting")
    assert (run["outcome"], run["cause"], run["asked_by"]) == ("succeeded", "asked", "api-key:admin")


@pytest.mark.parametrize(
    ("body", "enabled"), [({"enabled": False}, False), ({"enabled": True}, True), (None, False), ({}, False)]
)
async def test_a_task_is_switched(pool, body, enabled):
    upkeep = await listed(pool)
    async with served(upkeep) as client:
        answer = await client.patch("/tasks/sweep/toggle", json=body, headers=signed_in("manager"))

    assert (answer.status_code, answer.json()["enabled"]) == (200, enabled)


async def test_what_people_do_is_in_the_audit_trail_once(pool):
    upkeep = await listed(pool, trail=AuditTrail())
    async with served(upkeep) as client:
        for _ in range(2):
            await client.patch("/tasks/sweep/toggle", json={"enabled": False}, headers=signed_in("owner"))
            await client.post("/tasks/sweep/run", headers=signed_in("owner"))
    rows = await pool.fetch("SELECT event_type FROM audit_logs ORDER BY id")

    assert [row[0] for row in rows] == ["task.disabled", "task.asked"]


async def test_a_list_that_nobody_carries_out_says_so(pool):
    upkeep = await listed(pool)
    upkeep.work.error = ValueError("no")
    await upkeep.at(upkeep.keeper(), hours=1)
    upkeep.now = upkeep.now.replace(hour=23)
    async with served(upkeep) as client:
        status = (await client.get("/tasks/status", headers=signed_in("viewer"))).json()
        task = (await client.get("/tasks/sweep", headers=signed_in("viewer"))).json()["task"]

    assert (status["is_attended"], status["overdue"], status["failing"]) == (False, ["sweep"], ["sweep"])
    assert (task["status"], task["last_run"]["error"]) == ("unattended", "no")


@pytest.mark.parametrize("token", [None, "nobody", "x" * 5000, "' OR true --"])
async def test_whoever_is_not_known_sees_nothing(pool, token):
    async with served(Upkeep(pool)) as client:
        answers = [await client.get(path, headers=signed_in(token) if token else {}) for path in READS]

    assert [answer.status_code for answer in answers] == [401] * len(READS)


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_whoever_may_only_look_drives_nothing(pool, role):
    upkeep = await listed(pool)
    async with served(upkeep) as client:
        ran = await client.post("/tasks/sweep/run", headers=signed_in(role))
        switched = await client.patch("/tasks/sweep/toggle", json={"enabled": False}, headers=signed_in(role))

    assert [(answer.status_code, answer.json()["code"]) for answer in (ran, switched)] == [
        (403, "auth.permission_missing")
    ] * 2
    assert (await upkeep.standing()).is_enabled


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/tasks/no-such-task", 404, "upkeep.task_unknown"),
        ("POST", "/tasks/no-such-task/run", 404, "upkeep.task_unknown"),
        ("PATCH", "/tasks/no-such-task/toggle", 404, "upkeep.task_unknown"),
        ("GET", "/tasks/sweep/runs/9223372036854775807", 404, "upkeep.run_unknown"),
        ("GET", "/tasks/no-such-task/runs/1", 404, "upkeep.run_unknown"),
        ("POST", "/tasks/telemetry-rollups/run", 409, "upkeep.runs_elsewhere"),
        ("PATCH", "/tasks/telemetry-rollups/toggle", 409, "upkeep.runs_elsewhere"),
    ],
)
async def test_what_is_not_there_is_refused_with_its_code_and_a_hint(pool, method, path, status, code):
    upkeep = await listed(pool)
    async with served(upkeep) as client:
        answer = await client.request(method, path, headers=signed_in("owner"))

    assert (answer.status_code, answer.json()["code"], bool(answer.json()["hint"])) == (status, code, True)


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/tasks/Sweep%00", None),
        ("GET", "/tasks/" + "a" * 65, None),
        ("GET", "/tasks/sweep'--", None),
        ("GET", "/tasks/sweep/runs/0", None),
        ("GET", "/tasks/sweep/runs/99999999999999999999999", None),
        ("GET", "/tasks/sweep/runs/x", None),
        ("GET", "/tasks/sweep?limit=0", None),
        ("GET", "/tasks/sweep?before=-1", None),
        ("PATCH", "/tasks/sweep/toggle", b"{"),
        ("PATCH", "/tasks/sweep/toggle", b'{"enabled": "perhaps"}'),
        ("PATCH", "/tasks/sweep/toggle", b'{"enabled": 1}'),
        ("PATCH", "/tasks/sweep/toggle", b'{"on": true}'),
        ("PATCH", "/tasks/sweep/toggle", b"[]"),
        ("PATCH", "/tasks/sweep/toggle", b"\xff\xfe"),
    ],
)
async def test_garbage_is_refused_and_changes_nothing(pool, method, path, content):
    upkeep = await listed(pool)
    async with served(upkeep) as client:
        headers = signed_in("owner") | {"Content-Type": "application/json"}
        answer = await client.request(method, path, content=content, headers=headers)

    assert answer.status_code in (400, 404, 422), answer.text
    assert (await upkeep.standing()).is_enabled
