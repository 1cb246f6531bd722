"""Events of devices: what targets and reports leave behind, searched, replayed and compared over HTTP."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from device_cloud import Clock
from why_injections import Patient, content, service

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ApiKeyPrincipal, Permission
from iotistic.control.access.routing import check_routes
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.audit.events import EventLog
from iotistic.control.audit.origin import note_origins
from iotistic.control.audit.presence_events import PresenceEvents
from iotistic.control.audit.routes import audit_router, event_router
from iotistic.control.audit.sealing import Sealer
from iotistic.control.audit.stream import EventStream
from iotistic.control.audit.trail import AuditTrail
from iotistic.control.states.service import StateService
from iotistic.control.why.routes import why_router
from iotistic.control.why.service import WhyService
from iotistic.control.why.settings import WhySettings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.server import serve

READER, AUDITOR = {"Authorization": "Bearer reader"}, {"Authorization": "Bearer auditor"}


class Keys:
    """Two API keys: one that reads devices, one that sees the audit trail too."""

    async def find(self, token):
        allowed = {
            "reader": {Permission.DEVICE_READ},
            "auditor": {Permission.DEVICE_READ, Permission.SETTINGS_WRITE},
        }
        if token not in allowed:
            return None
        from uuid import UUID

        return ApiKeyPrincipal(key_id="0" * 12, user_id=UUID(int=1), permissions=frozenset(allowed[token]))


@pytest.fixture
async def client(pool):
    app = create_app(title="events", version="0", description="under test")
    addresses = ClientAddresses()
    install_gate(app, Gate(callers=Keys(), devices=None, addresses=addresses, attempts=FailedAttempts()))
    note_origins(app, addresses)
    stream = EventStream(pool)
    for router in (
        event_router(stream),
        audit_router(stream, pool),
        why_router(WhyService(pool, WhySettings())),
    ):
        app.include_router(router)
    check_routes(app)

    @app.post("/act")
    async def act():
        await AuditTrail().record(pool, "user:ada", "test.acted", ("thing", 1))

    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(
            verify=False, base_url=f"http://127.0.0.1:{server.port}", timeout=60, headers=AUDITOR
        ) as client,
    ):
        client.app = app
        yield client


@pytest.fixture
async def life(pool):
    """A device whose target and state changed: (device, [the time after each step])."""
    device = await Patient(pool).born()
    clock = Clock()
    clock.ahead = -timedelta(hours=10)
    states = StateService(
        pool, device.devices(), trail=AuditTrail(clock=clock), events=EventLog(), clock=clock
    )
    await pool.execute("DELETE FROM device_states")
    times = []

    async def step(act):
        clock.ahead += timedelta(hours=1)
        await act
        times.append(clock() + timedelta(seconds=30))

    async def deploy(image):
        await states.set_target(device.uuid, content(image), by="user:ada")
        await states.deploy(device.uuid, by="user:ada")

    def apps(image):
        return {"7": {"appId": 7, "services": [service(image=image)]}}

    await step(states.report(device.uuid, {"version": 2, "apps": apps("web:2"), "cpu_usage": 3.0}))
    await step(deploy("web:5"))
    await step(states.report(device.uuid, {"cpu_usage": 90.0, "temperature": 50}))
    await step(states.report(device.uuid, {"version": 3, "apps": apps("web:5")}))
    await step(states.report(device.uuid, {"version": 3, "apps": apps("web:5")}))
    return device, times


async def test_only_reports_that_change_the_state_become_events(pool, life):
    device, _ = life
    rows = await pool.fetch(
        "SELECT event_type, data FROM events WHERE device_uuid = $1::text::uuid ORDER BY id", device.uuid
    )

    assert [row["event_type"] for row in rows] == [
        "current_state.updated", "target_state.updated", "current_state.updated",
    ]  # fmt: skip
    assert "cpu_usage" not in rows[0]["data"]


async def test_a_replay_leads_to_the_state_at_its_end(client, life):
    device, times = life
    period = {"fromTime": times[0].isoformat(), "toTime": times[-1].isoformat()}
    answer = (await client.post(f"/events/device/{device.uuid}/replay", json=period)).json()
    early = {"fromTime": (times[0] - timedelta(hours=9)).isoformat(), "toTime": times[0].isoformat()}
    before = (await client.post(f"/events/device/{device.uuid}/replay", json=early)).json()

    assert answer["final_state"]["current_state"]["version"] == 3
    assert answer["final_state"]["target_state"]["version"] == 3
    assert answer["events_replayed"] == len(answer["events"]) >= 3
    assert (answer["errors"], answer["is_cut"]) == ([], False)
    assert before["final_state"]["current_state"]["version"] == 2
    assert before["final_state"]["target_state"] == {}


async def test_two_times_are_compared_field_by_field(client, life):
    device, times = life
    asked = {"time1": times[0].isoformat(), "time2": times[-1].isoformat()}
    answer = (await client.post(f"/events/device/{device.uuid}/compare", json=asked)).json()
    changes = {change["field"]: change for change in answer["changes"]}
    image = changes["current_state.apps.7.services[0].imageName"]

    assert (image["old"], image["new"], len(image["events"])) == ("web:2", "web:5", 1)
    assert changes["current_state.version"]["new"] == 3
    assert len(answer["snapshots"]) == 2
    assert "target_state.version" in changes


async def test_an_event_that_was_changed_is_named(client, life, pool):
    device, times = life
    await pool.execute("UPDATE events SET data = jsonb_set(data, '{state,version}', '99')")
    period = {"fromTime": times[0].isoformat(), "toTime": times[-1].isoformat()}
    answer = (await client.post(f"/events/device/{device.uuid}/replay", json=period)).json()

    assert len(answer["errors"]) == 3


async def test_events_are_followed_by_a_cursor(client, life):
    device, _ = life
    path, cursor, seen = f"/events/device/{device.uuid}", 0, []
    for _ in range(20):
        page = (await client.get(path, params={"sinceEventId": cursor, "limit": 2})).json()
        seen += [event["id"] for event in page["events"]]
        cursor = page["last_event_id"] or cursor
    newest = (await client.get(path, params={"limit": 1})).json()["events"]

    assert seen == sorted(set(seen))
    assert len(seen) == (await client.get(path, params={"limit": 500})).json()["count"]
    assert newest[0]["event_type"] == "current_state.updated"


@pytest.mark.parametrize(
    "path",
    [
        "/events/search?deviceUuid={uuid}&eventTypes=target_state.updated,current_state.updated&severity=info",
        "/events/search?dateFrom=2026-01-01T00:00:00Z&actorType=user&actorId=ada&aggregateTypes=device",
        "/events/device/{uuid}/timeline", "/events/recent", "/events/chain/0123456789abcdef",
    ],
)  # fmt: skip
async def test_the_ways_to_search_answer(client, life, path):
    answer = await client.get(path.format(uuid=life[0].uuid))

    assert (answer.status_code, answer.json()["count"]) == (200, len(answer.json()["events"]))


@pytest.mark.parametrize(
    "path",
    [
        "/events/stats?daysBack=7",
        "/events/device/{uuid}/summary",
        "/events/device/{uuid}/aggregate?period=hour",
    ],
)
async def test_the_ways_to_count_answer(client, life, path):
    answer = (await client.get(path.format(uuid=life[0].uuid))).json()

    assert answer["total"] == sum(row["count"] for row in answer["counts"]) > 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("replay", {"fromTime": "2026-02-01T00:00:00Z", "toTime": "2026-01-01T00:00:00Z"}, 400),
        ("replay", {"fromTime": "2020-01-01T00:00:00Z", "toTime": "2026-01-01T00:00:00Z"}, 400),
        ("replay", {"fromTime": "2026-02-01T00:00:00", "toTime": "2026-03-01T00:00:00Z"}, 422),
        ("snapshot", {"timestamp": "never"}, 422),
        ("compare", {"time1": "2026-02-01T00:00:00Z"}, 422),
        ("snapshot", {"timestamp": "2026-02-01T00:00:00Z", "more": 1}, 422),
    ],
)
async def test_periods_that_are_none_are_refused(client, life, path, body, status):
    answer = await client.post(f"/events/device/{life[0].uuid}/{path}", json=body)

    assert answer.status_code == status


async def test_who_may_not_see_the_trail_sees_devices_only_and_no_addresses(client, life):
    await client.post("/act", headers={"User-Agent": "a-program/1"})
    reader = (await client.get("/events/recent", headers=READER)).json()["events"]
    auditor = (await client.get("/events/recent")).json()["events"]
    refused = await client.get("/audit/logs", headers=READER)
    acted = next(event for event in auditor if event["event_type"] == "test.acted")

    assert all(event["device_uuid"] for event in reader)
    assert not any("ip_address" in event["metadata"] for event in reader)
    assert acted["metadata"] == {"ip_address": "127.0.0.1", "user_agent": "a-program/1"}
    assert len(acted["correlation_id"]) >= 8
    assert refused.json()["code"] == "auth.permission_missing"


async def test_the_trail_is_listed_and_its_end_shown(client, life, pool):
    await Sealer(pool).seal()
    logs = (await client.get("/audit/logs", params={"eventTypes": "target.deployed"})).json()
    head = (await client.get("/audit/head")).json()

    assert [log["source"] for log in logs["events"]] == ["audit"]
    assert logs["events"][0]["data"]["details"] == {"from_version": 2, "version": 3}
    assert head["position"] > 0


async def test_why_is_answered_over_http(client, life):
    uuid = life[0].uuid
    answers = [
        await client.get(f"/why/devices/{uuid}", params={"about": about})
        for about in ("offline", "not-updated", "limited", "rolled-back")
    ]
    unknown = await client.get("/why/devices/00000000-0000-4000-8000-000000000000")
    wrong = await client.get(f"/why/devices/{uuid}", params={"about": "sad"})

    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(answer.json()["cause"]["sentence"] and answer.json()["root"]["fix"] for answer in answers)
    assert (unknown.status_code, unknown.json()["code"], wrong.status_code) == (
        404,
        "why.device_unknown",
        422,
    )


@dataclass
class Went:
    device_uuid: str
    is_online: bool
    at: datetime
    reason: str


async def test_comings_and_goings_are_part_of_the_story(client, life, pool):
    device, times = life
    went = [
        Went(device.uuid, is_online=True, at=times[0], reason="poll"),
        Went(device.uuid, is_online=False, at=times[2], reason="silent"),
    ]
    await PresenceEvents().note(pool, went)
    await PresenceEvents().note(pool, [])
    asked = {"time1": times[1].isoformat(), "time2": times[3].isoformat()}
    answer = (await client.post(f"/events/device/{device.uuid}/compare", json=asked)).json()
    changes = {change["field"]: (change["old"], change["new"]) for change in answer["changes"]}

    assert changes["presence.is_online"] == (True, False)
    assert changes["presence.reason"] == ("poll", "silent")
    assert not any(snapshot["errors"] for snapshot in answer["snapshots"])


async def test_reports_at_once_leave_one_story(pool, life):
    device, _ = life
    states = StateService(pool, device.devices(), events=EventLog())
    await asyncio.gather(*(states.report(device.uuid, {"version": number}) for number in range(10, 30)))
    last = await pool.fetchval(
        "SELECT data->'state'->>'version' FROM events WHERE event_type = 'current_state.updated' ORDER BY id DESC LIMIT 1"
    )
    now = await pool.fetchval(
        "SELECT fields->>'version' FROM device_states WHERE device_uuid = $1::text::uuid", device.uuid
    )

    assert last == now
    assert datetime.now(UTC) > device.now
