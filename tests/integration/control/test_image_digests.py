"""Tags become digests at a deployment, asked of real registries (Debian's docker-registry)."""

import asyncio

import pytest
from device_cloud import code_of
from registry_server import PASSWORD, USERNAME, TokenServer, running, with_password
from target_desk import served

from iotistic.planning.target import read_target

LOCAL = "127.0.0.0/8"
READER = {"username": USERNAME, "password": PASSWORD, "isPlain": True}


@pytest.fixture
async def desk(pool):
    async with served(pool, image_registry_networks=LOCAL) as desk:
        yield desk


@pytest.fixture
def registry(tmp_path):
    with running(tmp_path) as server:
        yield server


def target_of(*images):
    services = [
        {"serviceId": n, "serviceName": f"s{n}", "config": {"image": image}} for n, image in enumerate(images)
    ]
    return {"apps": {"7": {"appId": 7, "appName": "shop", "services": services}}, "config": {}}


def images_in(told):
    return [one["config"]["image"] for one in told["apps"]["7"]["services"]]


async def resolve(desk, *images, **params):
    answer = await desk.ask("POST", "/registries/resolve", {"images": list(images)}, **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(desk, image):
    return (await resolve(desk, image))["unresolved"][image]["code"]


async def test_a_deployment_with_resolve_gives_devices_digests(desk, registry):
    await desk.ask("PUT", f"/registries/{registry.host}", {"isPlain": True})
    digest = registry.push("team/web", "1", "one")
    image, gone = f"{registry.host}/team/web:1", f"{registry.host}/team/none:1"
    device = await desk.device()
    path = f"/devices/{device.uuid}"
    await desk.ask("PUT", f"{path}/target-state", target_of(image, gone, f"{image}@{digest}"))
    deployed = (await desk.ask("POST", f"{path}/deploy", {"resolve": True})).json()
    registry.push("team/web", "1", "another")
    told = (await device.poll()).json()[device.uuid]

    assert images_in(told) == images_in(deployed) == [f"{image}@{digest}", gone, f"{image}@{digest}"]
    assert deployed["images"]["resolved"] == {image: f"{image}@{digest}"}
    assert deployed["images"]["unresolved"][gone]["code"] == "image.unknown"
    assert read_target(told).faults == []


async def test_tags_stay_unless_somebody_wants_digests(desk, registry):
    await desk.ask("PUT", f"/registries/{registry.host}", {"isPlain": True})
    registry.push("team/web", "1", "one")
    device = await desk.device()
    path = f"/devices/{device.uuid}"
    await desk.ask("PUT", f"{path}/target-state", target_of(f"{registry.host}/team/web:1"))
    deployed = (await desk.ask("POST", f"{path}/deploy")).json()

    assert images_in(deployed) == [f"{registry.host}/team/web:1"]
    assert deployed["images"] is None


async def test_a_server_may_be_set_to_resolve_and_a_deployment_not_to(pool, registry):
    digest = registry.push("team/web", "1", "one")
    image = f"{registry.host}/team/web:1"
    async with served(pool, image_registry_networks=LOCAL, image_resolve=True) as desk:
        await desk.ask("PUT", f"/registries/{registry.host}", {"isPlain": True})
        device = await desk.device()
        apps = f"/devices/{device.uuid}/apps"
        service = {"serviceName": "web", "image": image}
        await desk.ask("POST", apps, {"appId": 7, "services": [service]})
        by_app = (await desk.ask("POST", f"{apps}/7/deploy")).json()["inForce"]["services"][0]
        await desk.ask("PATCH", f"{apps}/7", {"services": [service]})
        not_now = (await desk.ask("POST", f"{apps}/7/deploy", resolve=False)).json()["inForce"]

    assert by_app["config"]["image"] == by_app["imageName"] == f"{image}@{digest}"
    assert not_now["services"][0]["config"]["image"] == image


async def test_app_edits_templates_and_rollouts_give_digests_too_where_they_deploy(desk, registry):
    await desk.ask("PUT", f"/registries/{registry.host}", {"isPlain": True})
    one, two = (registry.push("team/web", tag, tag * 9) for tag in ("1", "2"))
    first, second = (f"{registry.host}/team/web:{tag}" for tag in ("1", "2"))
    device = await desk.device()
    path, now = f"/devices/{device.uuid}", {"deploy": True, "resolve": True}
    added = await desk.ask("POST", f"{path}/apps", {"appId": 7, "services": [web(first)]}, **now)
    changed = await desk.ask("PATCH", f"{path}/apps/7", {"services": [web(second)]}, **now)
    waits = await desk.ask("PATCH", f"{path}/apps/7", {"services": [web(first)]}, resolve=True)
    await desk.ask("POST", f"{path}/deploy/cancel")
    template = {"name": "shop", "content": target_of(first)}
    await desk.ask("POST", "/target-templates", template)
    filled = await desk.ask("POST", "/target-templates/shop/apply", {"deviceUuid": device.uuid, **now})
    rolled = {
        "name": "next",
        "change": {"kind": "image", "service": "s0", "image": second},
        "selection": {"devices": [device.uuid]},
        "resolve": True,
    }
    rollout = await desk.ask("POST", "/rollouts", rolled)

    assert added.json()["inForce"]["services"][0]["config"]["image"] == f"{first}@{one}"
    assert changed.json()["inForce"]["services"][0]["config"]["image"] == f"{second}@{two}"
    assert waits.json()["app"]["services"][0]["config"]["image"] == first
    assert images_in(filled.json()) == [f"{first}@{one}"]
    assert rollout.status_code == 201, rollout.text
    assert rollout.json()["change"]["image"] == f"{second}@{two}"


def web(image):
    return {"serviceName": "web", "image": image}


async def test_a_preview_says_how_many_bytes_are_fetched_where_the_registry_is_known(desk, registry):
    digest = registry.push_for("team/web", "1", amd64="x" * 5000, arm64="x" * 9000)
    registry.push("team/db", "1", "y" * 100)
    device = await desk.device()
    await desk.ask("PUT", f"/devices/{device.uuid}/target-state", {"apps": {}, "config": {}})

    async def preview(*images):
        change = {"kind": "set", **target_of(*images)}
        asked = {"change": change, "selection": {"devices": [device.uuid]}}
        told = (await desk.ask("POST", "/rollouts/preview", asked)).json()
        return [plan["bytesToFetch"] for plan in told["plans"].values()]

    await desk.ask("POST", f"/devices/{device.uuid}/deploy/cancel")
    several, small = f"{registry.host}/team/web:1", f"{registry.host}/team/db:1"
    unknown = await preview(several)
    await desk.ask("PUT", f"/registries/{registry.host}", {"isPlain": True})
    largest, both = await preview(f"{several}@{digest}"), await preview(several, small)
    gone = await preview(several, f"{registry.host}/team/none:1")

    assert (unknown, gone) == ([None], [None])
    # The content stands in the layer, and once more in the image's configuration.
    assert 18_000 < largest[0] < 18_100
    assert 200 < both[0] - largest[0] < 300


async def test_a_password_is_shown_to_the_registry_and_to_nobody_else(desk, tmp_path, pool):
    with with_password(tmp_path) as registry:
        digest = registry.push("team/app", "1", "one")
        image = f"{registry.host}/team/app:1"
        path = f"/registries/{registry.host}"
        await desk.ask("PUT", path, {"isPlain": True})
        nobody = await refused(desk, image)
        await desk.ask("PUT", path, {**READER, "password": "wrong"})
        wrong = await refused(desk, image)
        kept = (await desk.ask("PUT", path, READER)).json()
        right = await resolve(desk, image)
    listed = (await desk.ask("GET", "/registries")).text
    rows = str([dict(row) for row in await pool.fetch("SELECT * FROM image_registries")])
    trail = str([dict(row) for row in await pool.fetch("SELECT * FROM audit_logs")])

    assert (nobody, wrong) == ("image.registry_refused", "image.registry_refused")
    assert right["resolved"] == {image: f"{image}@{digest}"}
    assert kept["hasPassword"]
    for text in (listed, rows, trail):
        assert PASSWORD not in text


async def test_a_registry_with_tokens_sends_us_where_they_are(desk, tmp_path):
    async with TokenServer(tmp_path).listening() as tokens:
        bearer = {"Authorization": f"Bearer {tokens.token('team/app', 'pull', 'push')}"}
        with running(tmp_path, tokens.auth(), bearer) as registry:
            digest = await asyncio.to_thread(registry.push, "team/app", "1", "one")
            image = f"{registry.host}/team/app:1"
            await desk.ask("PUT", f"/registries/{registry.host}", {"isPlain": True})
            nobody = await refused(desk, image)
            await desk.ask("PUT", f"/registries/{registry.host}", READER)
            right = await resolve(desk, image)

    assert nobody == "image.registry_refused"
    assert right["resolved"] == {image: f"{image}@{digest}"}
    assert [asked for asked, _ in tokens.asked] == [
        {"service": ["tests"], "scope": ["repository:team/app:pull"]}
    ] * 2


async def test_a_digest_is_kept_for_a_while(desk, registry):
    await desk.ask("PUT", f"/registries/{registry.host}", {"isPlain": True})
    registry.push("team/web", "1", "one")
    first = await resolve(desk, f"{registry.host}/team/web:1")
    registry.push("team/web", "1", "two")
    second = await resolve(desk, f"{registry.host}/team/web:1")

    assert first == second


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("10.0.0.1/a:1", "image.address_refused"),
        ("169.254.169.254/latest/meta-data:1", "image.address_refused"),
        ("127.0.0.1:1/a:1", "image.registry_away"),
        ("no-such-host.invalid/a:1", "image.registry_away"),
        ("127.0.0.1:99999/a:1", "image.host_invalid"),
        ("a.example/../b:1", "image.name_invalid"),
        ("a.example/b?x=1:1", "image.name_invalid"),
        ("a.example/b%2f:1", "image.name_invalid"),
        ("user@a.example/b:1", "nothing"),
    ],
)
async def test_what_cannot_or_may_not_be_asked_is_named(desk, image, code):
    found = await resolve(desk, image)
    codes = [missed["code"] for missed in found["unresolved"].values()] or ["nothing"]

    assert (codes, found["resolved"]) == ([code], {})


@pytest.mark.parametrize(
    "told",
    [
        b"garbage",
        b"HTTP/1.1 200 OK\r\nDocker-Content-Digest: sha256:zz\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="http://10.0.0.1/t"\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="file:///etc/passwd"\r\nContent-Length: 0\r\n\r\n',
        b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
async def test_a_registry_that_lies_or_hangs_costs_only_its_own_image(pool, told):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(told)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with served(pool, image_registry_networks=LOCAL, image_registry_timeout_s=1) as desk:
        await desk.ask("PUT", f"/registries/{host}", {"isPlain": True})
        found = await resolve(desk, f"{host}/a:1")
    server.close()

    assert found["resolved"] == {}
    assert found["unresolved"][f"{host}/a:1"]["code"].startswith("image.")


async def test_registries_are_kept_listed_and_removed_by_whoever_may(desk):
    put = await desk.ask("PUT", "/registries/Registry.Example:5000", {"username": "a", "password": "b"})
    items = (await desk.ask("GET", "/registries", role="viewer")).json()["items"]
    denied = await desk.ask("PUT", "/registries/x.example", {}, role="operator")
    removed = await desk.ask("DELETE", "/registries/registry.example:5000")
    again = await desk.ask("DELETE", "/registries/registry.example:5000")

    assert put.json()["host"] == "registry.example:5000"
    assert [one["host"] for one in items] == ["registry.example:5000"]
    assert (denied.status_code, removed.status_code) == (403, 204)
    assert again.json()["code"] == "image.registry_unknown"
    assert await desk.done() == ["registry.set", "registry.removed"]


@pytest.mark.parametrize(
    ("host", "body"),
    [
        ("a b", {}),
        ("x.example", {"username": "a"}),
        ("x.example", {"password": "a"}),
        ("x.example", {"username": "a:b", "password": "a"}),
        ("x.example", {"caPem": "no certificate"}),
        ("x.example", {"unknown": 1}),
        ("x.example:0", {}),
    ],
)
async def test_garbage_about_a_registry_is_refused(desk, host, body):
    answer = await desk.ask("PUT", f"/registries/{host}", body)

    assert 400 <= answer.status_code < 500, answer.text
    assert (await desk.ask("GET", "/registries")).json()["items"] == []


async def test_a_password_without_a_secret_to_seal_it_with_is_refused(pool):
    async with served(pool, registry_secret=None) as desk:
        answer = await desk.ask("PUT", "/registries/x.example", {"username": "a", "password": "b"})

    assert answer.json()["code"] == "seal.missing"


async def test_a_deployment_of_nothing_is_refused_as_ever(desk):
    device = await desk.device()

    assert code_of(await desk.ask("POST", f"/devices/{device.uuid}/deploy", {"resolve": True})) == (
        409,
        "state.nothing_to_deploy",
    )
