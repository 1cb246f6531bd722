"""Templates of targets, over HTTP on a real PostgreSQL."""

import asyncio
import json

import pytest
from target_desk import WRITER, served


def template(**config):
    service = {"serviceId": 1, "serviceName": "web", "config": {"image": "web:1", **config}}
    return {"apps": {"7": {"appId": 7, "appName": "shop", "services": [service]}}, "config": {}}


@pytest.fixture
async def desk(pool):
    async with served(pool) as desk:
        yield desk


async def keep(desk, content, *, name="shop", **more):
    answer = await desk.ask("POST", "/target-templates", {"name": name, "content": content, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def fill(desk, device, act="preview", *, role="owner", **more):
    body = {"deviceUuid": device.uuid, **more}
    return await desk.ask("POST", f"/target-templates/shop/{act}", body, role=role)


def config_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["apps"]["7"]["services"][0]["config"]


def faults_of(answer):
    assert (answer.status_code, answer.json()["code"]) == (400, "state.target_invalid"), answer.text
    return answer.json()["fields"]["faults"]


async def tag(desk, device, key, value):
    await desk.pool.execute(
        "INSERT INTO device_tags (device_uuid, key, value) VALUES ($1, $2, $3)", device.uuid, key, value
    )


async def test_variables_become_what_the_device_is(desk):
    probe = {"type": "tcp", "port": "{{param.port}}"}
    environment = {
        "WHO": "{{device.name}} ({{device.uuid}})",
        "LINE": "{{tag.line}}",
        "HALL": "{{ tag.hall|none at all }}",
        "RAW": "\\{{.Name}}",
        "ON": "{{param.on}}!",
    }
    content = template(image="web:{{param.tag}}", environment=environment, livenessProbe=probe)
    await keep(desk, content, parameters={"tag": "1.2", "port": 80, "on": None})
    device = await desk.device()
    await tag(desk, device, "line", "{{device.uuid}}")
    config = config_of(await fill(desk, device, parameters={"port": 8080, "on": True}))

    assert config["image"] == "web:1.2"
    assert config["livenessProbe"]["port"] == 8080
    assert config["environment"] == {
        "WHO": f"press 7 ({device.uuid})",
        "LINE": "{{device.uuid}}",
        "HALL": "none at all",
        "RAW": "{{.Name}}",
        "ON": "true!",
    }


async def test_a_template_waits_on_a_device_or_is_deployed(desk):
    await keep(desk, template(environment={"N": "{{device.name}}"}))
    device = await desk.device()
    waits = (await fill(desk, device, "apply")).json()
    deployed = (await fill(desk, device, "apply", deploy=True, expectedVersion=1)).json()
    stale = await fill(desk, device, "apply", deploy=True, expectedVersion=1)
    told = (await device.poll()).json()[device.uuid]

    assert waits["needs_deployment"]
    assert (waits["version"], deployed["version"], deployed["needs_deployment"]) == (1, 2, False)
    assert told["apps"]["7"]["services"][0]["config"]["environment"] == {"N": "press 7"}
    assert (stale.status_code, stale.json()["code"]) == (409, "state.target_changed")
    assert await desk.done() == [
        "template.created",
        "template.applied",
        "target.deployed",
        "template.applied",
    ]


async def test_a_template_that_is_merged_leaves_other_apps(desk):
    await keep(desk, {**template(), "config": {"logging": {"level": "info"}}})
    device = await desk.device()
    service = {"serviceName": "log", "image": "log:1"}
    await desk.ask("POST", f"/devices/{device.uuid}/apps", {"appId": 8, "services": [service]}, deploy=True)
    merged = (await fill(desk, device, merge=True)).json()
    replaced = (await fill(desk, device)).json()

    assert (set(merged["apps"]), set(replaced["apps"])) == ({"7", "8"}, {"7"})
    assert merged["config"] == {"logging": {"level": "info"}}


async def test_each_change_of_content_is_a_version_that_stays(desk):
    await keep(desk, template())
    path = "/target-templates/shop"
    described = (await desk.ask("PATCH", path, {"description": "sells"})).json()
    second = (
        await desk.ask("PATCH", path, {"content": template(image="web:2"), "expectedVersion": 1})
    ).json()
    stale = await desk.ask("PATCH", path, {"content": template(image="web:3"), "expectedVersion": 1})
    first = (await desk.ask("GET", path, version=1)).json()
    device = await desk.device()

    assert (described["version"], second["version"], first["newest"]) == (1, 2, 2)
    assert stale.json()["code"] == "template.changed"
    assert config_of(await fill(desk, device))["image"] == "web:2"
    assert config_of(await fill(desk, device, version=1))["image"] == "web:1"
    assert (await fill(desk, device, version=3)).json()["code"] == "template.unknown"


async def test_new_devices_begin_with_the_default_template_and_known_ones_keep_theirs(desk):
    before = await desk.device()
    await keep(desk, template(environment={"N": "{{device.name}}", "T": "{{tag.line|none}}"}), isDefault=True)
    after = await desk.device()
    await keep(desk, template(image="web:9"), name="other", isDefault=True)
    last = await desk.device()
    told = [(await one.poll()).json()[one.uuid] for one in (before, after, last)]
    history = (await desk.ask("GET", f"/devices/{after.uuid}/target-state/history")).json()["items"]
    defaults = [
        one["name"]
        for one in (await desk.ask("GET", "/target-templates")).json()["items"]
        if one["isDefault"]
    ]

    assert [(one["version"], set(one["apps"])) for one in told] == [(1, set()), (1, {"7"}), (1, {"7"})]
    assert told[1]["apps"]["7"]["services"][0]["config"]["environment"] == {"N": "press 7", "T": "none"}
    assert told[2]["apps"]["7"]["services"][0]["config"]["image"] == "web:9"
    assert history[0]["deployed_by"] == "template:shop@1"
    assert defaults == ["other"]


async def test_a_default_that_a_device_cannot_fill_turns_no_device_away(desk):
    await keep(desk, template(environment={"T": "{{tag.line}}"}), isDefault=True)
    device = await desk.device()

    assert (await device.poll()).json()[device.uuid]["apps"] == {}


async def test_every_fault_of_filling_in_is_named_and_nothing_is_kept(desk):
    content = template(image="{{param.image}}", ports=["{{tag.port}}:80"], environment={"A": "{{tag.line}}"})
    await keep(desk, content, parameters={"image": None})
    device = await desk.device()
    empty = faults_of(await fill(desk, device, "apply", parameters={"other": 1}))
    await tag(desk, device, "port", "not a port")
    await tag(desk, device, "line", "x")
    filled = faults_of(await fill(desk, device, "apply", parameters={"image": "NO IMAGE"}))

    assert set(empty) == {
        "parameters.other",
        "apps.7.services[0].config.image",
        "apps.7.services[0].config.ports[0]",
        "apps.7.services[0].config.environment.A",
    }
    assert set(filled) == {"apps.7.services[0].config.image", "apps.7.services[0].config.ports[0]"}
    assert await desk.done() == ["template.created"]


@pytest.mark.parametrize(
    "text",
    ["{{}}", "{{x}}", "{{device.secret}}", "{{param.none}}", "{{tag.}}", "{{tag.a b}}"],
)
async def test_variables_that_no_device_could_fill_are_refused_at_once(desk, text):
    body = {"name": "shop", "content": template(image="web:1", environment={"A": f"<{text}>"})}
    answer = await desk.ask("POST", "/target-templates", body)

    assert set(faults_of(answer)) == {"apps.7.services[0].config.environment.A"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "a b", "content": {}},
        {"name": "shop", "content": []},
        {"name": "shop", "content": {"apps": []}},
        {"name": "shop", "content": {"apps": {"7": 3}}},
        {"name": "shop", "content": template(image=3)},
        {"name": "shop", "content": template(unknown=1)},
        {"name": "shop", "content": {}, "parameters": {"a": {"b": 1}}},
        {"name": "shop", "content": {}, "parameters": {"a": "\0"}},
        {"name": "shop", "content": {"config": {"a": "x" * 2**20}}},
        {"name": "shop", "content": {"config": {"a": float("nan")}}},
    ],
)
async def test_garbage_is_refused(desk, body):
    content = json.dumps(body).encode()  # NaN and all
    headers = {"Authorization": "Bearer owner", "Content-Type": "application/json"}
    answer = await desk.cloud.client.post("/target-templates", content=content, headers=headers)

    assert 400 <= answer.status_code < 500, answer.text
    assert (await desk.ask("GET", "/target-templates")).json()["items"] == []


async def test_a_deep_template_is_refused(desk):
    deep = {}
    for _ in range(200):
        deep = {"a": deep}
    answer = await desk.ask("POST", "/target-templates", {"name": "shop", "content": {"config": deep}})

    assert answer.json()["code"] == "state.target_invalid"


async def test_who_may_what(desk):
    await keep(desk, template())
    device = await desk.device()
    again = await desk.ask("POST", "/target-templates", {"name": "shop", "content": template()})
    waits = await fill(desk, device, "apply", role=WRITER)
    refused = await fill(desk, device, "apply", role=WRITER, deploy=True)
    operator = await fill(desk, device, "apply", role="operator")
    viewer = await fill(desk, device, role="viewer")
    removed = await desk.ask("DELETE", "/target-templates/shop")
    gone = await desk.ask("DELETE", "/target-templates/shop")

    assert (again.status_code, again.json()["code"]) == (409, "template.exists")
    assert (waits.status_code, refused.status_code, operator.status_code, viewer.status_code) == (
        200,
        403,
        403,
        200,
    )
    assert (removed.status_code, gone.json()["code"]) == (204, "template.unknown")


async def test_of_changes_and_defaults_at_once_one_default_and_every_version_is_left(desk):
    await keep(desk, template())
    await keep(desk, template(), name="other")
    bodies = [{"content": template(image=f"new:{n}"), "isDefault": True} for n in range(10)]
    answers = await asyncio.gather(
        *(
            desk.ask("PATCH", f"/target-templates/{('shop', 'other')[n % 2]}", body)
            for n, body in enumerate(bodies)
        )
    )
    versions = await desk.pool.fetch(
        "SELECT template, count(*) AS n FROM target_template_versions GROUP BY 1"
    )
    defaults = await desk.pool.fetchval("SELECT count(*) FROM target_templates WHERE is_default")

    assert {one.status_code for one in answers} == {200}
    assert {row["n"] for row in versions} == {6}
    assert defaults == 1
