"""/alerts over HTTP: who may what, what is answered, and faults by field."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import pytest
from alert_builders import SECOND, too_hot
from described_answers import answers_as_described

from iotistic.control.access.addresses import ClientAddresses, ProxySettings
from iotistic.control.access.model import Role, UserPrincipal
from iotistic.control.access.routing import check_routes
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.alerts.backtest import Backtest
from iotistic.control.alerts.routes import alert_router
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.server import serve


@dataclass
class Callers:
    """A token is the name of a role."""

    async def find(self, token):
        return UserPrincipal(user_id=uuid4(), username=token, role=Role(token), session_id=uuid4())


def app_of(hall):
    app = create_app(title="alerts", version="0", description="under test")
    gate = Gate(
        callers=Callers(),
        devices=None,
        addresses=ClientAddresses.of(ProxySettings()),
        attempts=FailedAttempts(),
    )
    install_gate(app, gate)
    backtest = Backtest(hall.pool, hall.settings)
    app.include_router(alert_router(hall.rules, hall.alerts, backtest, hall.targets), prefix="/api/v1")
    return app


@pytest.fixture
async def client(hall):
    app = app_of(hall)
    hooks = {"response": [answers_as_described(app)]}
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(
            verify=False,
            base_url=f"http://127.0.0.1:{server.port}/api/v1",
            timeout=60,
            event_hooks=hooks,
        ) as client,
    ):
        yield client


def as_role(role):
    return {"Authorization": f"Bearer {role}"}


ADMIN, OPERATOR, VIEWER = as_role("admin"), as_role("operator"), as_role("viewer")


def test_every_route_says_what_it_needs(hall):
    needs = {str(need): need.rules for need in check_routes(app_of(hall)) if "/alerts" in need.path}

    assert len(needs) == 35
    assert {rule for rules in needs.values() for rule in rules} == {
        "data:read",
        "device:control",
        "settings:read",
        "settings:write",
    }


async def test_a_rule_is_made_changed_read_and_removed(client):
    spec = {"name": "hot", "condition": too_hot(), "forS": 5, "severity": "critical"}
    made = await client.post("/alerts/rules", json=spec, headers=ADMIN)
    path = f"/alerts/rules/{made.json()['id']}"
    changed = await client.put(path, json={**spec, "isEnabled": False}, headers=ADMIN)
    read = await client.get(path, headers=VIEWER)
    listed = await client.get("/alerts/rules", headers=VIEWER)
    gone = await client.delete(path, headers=ADMIN)

    assert (made.status_code, made.json()["forS"], made.json()["isEnabled"]) == (201, 5, True)
    assert (changed.json()["isEnabled"], changed.json()["evaluatedUntil"]) == (False, None)
    assert read.json()["condition"]["above"] == 30
    assert listed.json() == [read.json()]
    assert gone.status_code == 204
    assert (await client.get(path, headers=VIEWER)).json()["code"] == "alerts.rule_unknown"


async def test_a_fault_is_named_by_its_field(client):
    spec = {"name": "hot", "condition": {"type": "threshold", "metric": "t", "above": "hot"}}
    answer = await client.post("/alerts/rules", json=spec, headers=ADMIN)

    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == ["body.condition.threshold.above"]


async def test_viewers_look_operators_attend_and_managers_write(client, hall):
    series = await hall.series()
    await hall.rule(too_hot())
    await hall.store(series, (hall.clock() + SECOND, 40.0))
    await hall.look()
    listed = (await client.get("/alerts", headers=VIEWER)).json()["items"]
    path = f"/alerts/{listed[0]['id']}"
    refused = await client.post(f"{path}/acknowledge", headers=VIEWER)
    taken = await client.post(f"{path}/acknowledge", headers=OPERATOR)
    ended = await client.post(f"{path}/resolve", headers=OPERATOR)
    over = await client.post(f"{path}/resolve", headers=OPERATOR)
    stats = await client.get("/alerts/stats", headers=VIEWER)

    assert (refused.status_code, refused.json()["code"]) == (403, "auth.permission_missing")
    assert (taken.json()["state"], ended.json()["state"]) == ("acknowledged", "resolved")
    assert (over.status_code, over.json()["code"]) == (409, "alerts.alert_over")
    assert stats.json() == {"resolved": {"warning": 1}}
    assert (await client.post("/alerts/rules", json={}, headers=OPERATOR)).status_code == 403


async def test_lists_go_on_where_the_page_before_ended(client, hall):
    for _ in range(5):
        series = await hall.series()
        await hall.rule(too_hot(), selection={"devices": [await uuid_of(hall, series)]})
        await hall.store(series, (hall.clock() + SECOND, 40.0))
    await hall.look()
    seen, before = [], None
    for _ in range(4):
        params = {"limit": 2} | ({"before": before} if before else {})
        page = (await client.get("/alerts", params=params, headers=VIEWER)).json()
        seen += [one["id"] for one in page["items"]]
        before = page["next"]

    assert len(set(seen[:5])) == 5
    bad = await client.get("/alerts", params={"before": "x"}, headers=VIEWER)
    assert bad.json()["code"] == "alerts.cursor_invalid"


async def uuid_of(hall, series):
    return str(await hall.pool.fetchval("SELECT uuid FROM devices WHERE id = $1", series[0]))


async def test_a_target_shows_its_secret_once(client):
    asked = {"name": "ops", "channel": {"kind": "webhook", "url": "https://hook.example/x"}}
    made = (await client.post("/alerts/targets", json=asked, headers=ADMIN)).json()
    path = f"/alerts/targets/{made['id']}"
    read = (await client.get(path, headers=VIEWER)).json()
    rotated = (await client.post(f"{path}/rotate-secret", headers=ADMIN)).json()

    assert made["secret"].startswith("whsec_")
    assert "secret" not in read
    assert rotated["secret"] != made["secret"]
    assert rotated["formerSecretUntil"] is not None


@pytest.mark.parametrize(
    "channel",
    [{"kind": "mail", "addresses": ["a@b.example\r\nBcc: c@d.example"]}, {"kind": "mail", "addresses": []},
     {"kind": "webhook", "url": "https://x.example/ \r\nX: y"}, {"kind": "fax"}],
)  # fmt: skip
async def test_channels_that_are_none_are_refused(client, channel):
    answer = await client.post("/alerts/targets", json={"name": "x", "channel": channel}, headers=ADMIN)

    assert answer.status_code == 422


async def test_a_rule_is_tried_on_the_past(client, hall):
    series = await hall.series()
    start = datetime.now(UTC) - timedelta(days=2)
    await hall.store(
        series, *[(start + timedelta(minutes=place), 20.0 + 20 * (place % 2)) for place in range(60)]
    )
    asked = {
        "rule": {"name": "x", "condition": too_hot()},
        "start": start.isoformat(),
        "end": (start + timedelta(days=1)).isoformat(),
    }
    answer = (await client.post("/alerts/rules/backtest", json=asked, headers=VIEWER)).json()

    assert (answer["total"], answer["isComplete"], sum(answer["perDay"].values())) == (30, True, 30)
    assert answer["cost"]["readings"] == 60
    assert answer["durationsS"]["median"] == 60
    assert answer["alerts"][0]["value"] == 40


async def test_silences_are_made_listed_and_ended(client, hall):
    until = (hall.clock() + timedelta(hours=1)).isoformat()
    asked = {"deviceUuid": str(uuid4()), "until": until, "comment": "works"}
    made = await client.post("/alerts/silences", json=asked, headers=OPERATOR)
    listed = (await client.get("/alerts/silences", headers=VIEWER)).json()
    ended = await client.delete(f"/alerts/silences/{made.json()['id']}", headers=OPERATOR)
    naive = await client.post(
        "/alerts/silences", json={**asked, "until": "2026-01-01T00:00:00"}, headers=OPERATOR
    )

    assert (made.status_code, ended.status_code, naive.status_code) == (201, 200, 422)
    assert [one["comment"] for one in listed] == ["works"]
    assert (await client.get("/alerts/silences", headers=VIEWER)).json() == []


OLD_RULE = {
    "name": "disk",
    "pattern": "disk (full|lost)",
    "pattern_type": "regex",
    "threshold": 3,
    "time_window": 60,
}


async def test_rules_of_the_earlier_system_are_made_changed_and_removed(client):
    made = await client.post("/alerts/alert-rules", json={**OLD_RULE, "notify_email": True}, headers=ADMIN)
    path = f"/alerts/alert-rules/{made.json()['rule']['id']}"
    changed = await client.put(path, json={"threshold": 5, "is_enabled": False}, headers=ADMIN)
    new_form = await client.get(path.replace("alert-rules", "rules"), headers=VIEWER)
    listed = await client.get("/alerts/alert-rules", headers=VIEWER)
    found = await client.get(path, headers=VIEWER)
    gone = await client.delete(path, headers=ADMIN)

    assert (made.status_code, made.json()["rule"]["threshold"]) == (201, 3)
    assert new_form.json()["condition"]["count"] == 5
    assert listed.json() == {"rules": [found.json()["rule"]], "count": 1}
    assert found.json() == changed.json()
    assert gone.status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [({"pattern": "("}, 422), ({"threshold": 0}, 422), ({"trigger_type": "sequence"}, 400)],
)
async def test_faults_in_rules_of_the_earlier_system_are_refused(client, change, status):
    answer = await client.post("/alerts/alert-rules", json=OLD_RULE | change, headers=ADMIN)

    assert answer.status_code == status


async def test_lesson_9_the_counts_of_alerts_are_not_shadowed_by_a_single_alert(client, hall):
    series = await hall.series()
    await hall.rule(too_hot())
    await hall.store(series, (hall.clock() + SECOND, 40.0))
    await hall.look()
    counts = await client.get("/alerts/alerts/stats", headers=VIEWER)
    listed = (await client.get("/alerts/alerts", params={"status": "active"}, headers=VIEWER)).json()
    path = f"/alerts/alerts/{listed['alerts'][0]['id']}"
    claimed = {"acknowledged_by": "somebody else"}
    taken = (await client.post(f"{path}/acknowledge", json=claimed, headers=OPERATOR)).json()
    ended = (await client.post(f"{path}/resolve", headers=OPERATOR)).json()
    found = (await client.get(path, headers=VIEWER)).json()
    judged = await client.post(f"/alerts/alerts/process/{uuid4()}", headers=OPERATOR)
    unknown = await client.get("/alerts/alerts", params={"status": "odd"}, headers=VIEWER)

    assert (counts.status_code, counts.json()["active"], counts.json()["warning"]) == (200, 1, 1)
    assert taken["alert"]["status"] == "acknowledged"
    assert taken["alert"]["acknowledged_by"].startswith("user:")
    assert (found, found["alert"]["status"], judged.status_code) == (ended, "resolved", 200)
    assert unknown.json()["code"] == "alerts.status_unknown"


@pytest.mark.parametrize(
    "change",
    [
        {"start": "0001-01-01T00:00:00Z"},
        {"end": "9999-12-31T23:59:59-14:00"},
        {"start": "2026-01-01T00:00:00"},
    ],
)
async def test_times_beyond_all_sums_are_refused(client, change):
    asked = {
        "rule": {"name": "x", "condition": too_hot()},
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-02T00:00:00Z",
        **change,
    }
    answer = await client.post("/alerts/rules/backtest", json=asked, headers=VIEWER)

    assert answer.status_code == 422
