"""Images on a real Docker: private registries, digests, and what becomes of those that nothing needs."""

import asyncio
import base64
import contextlib
import json
import time

import pytest
from benchmarks.docker_device import Unlocked
from benchmarks.docker_server import PASSWORD, REGISTRY, USERNAME
from structlog.testing import capture_logs

from iotistic.agent.engines.docker.engine import DockerEngine
from iotistic.agent.engines.docker.keyring import FileKeyring
from iotistic.agent.engines.errors import ImageNotFound
from iotistic.agent.reconcile.carrying_out import Executor
from iotistic.agent.reconcile.reconciler import Reconciler, Surroundings
from iotistic.agent.reconcile.record import Record
from iotistic.planning.model import Status
from iotistic.planning.target import read_target

APP = f"{REGISTRY}/team/app"
WITHIN_S = 30.0


def auths(password=PASSWORD):
    entry = {"auth": base64.b64encode(f"{USERNAME}:{password}".encode()).decode()}
    return json.dumps({"auths": {REGISTRY: entry}})


@pytest.fixture
def credentials(tmp_path):
    path = tmp_path / "registries.json"
    path.touch(mode=0o600)
    path.write_text(auths())
    return path


@pytest.fixture
async def engine(docker, credentials):
    made = DockerEngine(docker.socket, FileKeyring(credentials))
    yield made
    await made.close()


@pytest.fixture
def published(docker):
    """Three more versions of the image in the registry, and none on the device."""
    docker.run("login", "--username", USERNAME, "--password-stdin", REGISTRY, told=PASSWORD)
    for version in ("2", "3", "4"):
        docker.run("tag", "db:1", "changed:1")
        held = docker.run("create", "--label", f"version={version}", "db:1").stdout.strip()
        docker.run("commit", "--change", f"LABEL version={version}", held, f"{APP}:{version}")
        docker.run("rm", held)
        docker.run("push", f"{APP}:{version}")
        docker.run("rmi", f"{APP}:{version}", "changed:1")
    yield docker
    docker.run("logout", REGISTRY)
    docker.clear()
    left = docker.run("image", "ls", "--quiet", "--filter", f"reference={APP}").stdout.split()
    docker.run("rmi", "--force", *left, check=False)


class Loop:
    """An agent's loop, with a disk that can be full."""

    def __init__(self, engine):
        self.record, self.full = Record(), False
        around = Surroundings(time.time, disk_is_full=lambda: self.full)
        self.reconciler = Reconciler(engine, Executor(engine, Unlocked()), self.record, around)

    async def until(self, met):
        deadline = time.monotonic() + WITHIN_S
        while not met(self.reconciler.standing):
            assert time.monotonic() < deadline, self.reconciler.standing
            await asyncio.sleep(0.02)

    async def settle(self, image, **options):
        service = {"serviceId": 1, "serviceName": "web", "config": {"image": image, "stopTimeoutSeconds": 1}}
        apps = {"7": {"appId": 7, "appName": "shop", "services": [service]}}
        reading = read_target({"apps": apps, "options": options})
        assert reading.faults == []
        self.reconciler.declare(reading.target)
        self.reconciler.standing.settled_at = None
        await self.until(lambda standing: standing.settled_at and runs(standing, image))


def runs(standing, image):
    return [
        one.id
        for one in standing.current.containers
        if one.status is Status.RUNNING and one.config.image == image
    ]


@pytest.fixture
async def loop(engine):
    made = Loop(engine)
    task = asyncio.create_task(made.reconciler.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def tags(docker):
    form = "{{.Repository}}:{{.Tag}}@{{.Digest}}"
    found = docker.run("image", "ls", "--digests", "--format", form, "--filter", f"reference={APP}").stdout
    return {name.removeprefix(f"{APP}:").partition("@")[0] for name in found.split()}


def digest_of(docker, image):
    docker.run("pull", image)
    said = docker.run("inspect", "--format", "{{index .RepoDigests 0}}", image).stdout.strip()
    docker.run("rmi", image)
    return said.partition("@")[2]


async def test_credentials_that_are_written_down_later_are_used_at_once(engine, credentials, docker):
    docker.run("rmi", f"{APP}:1", check=False)
    known = credentials.read_text()
    credentials.unlink()
    with pytest.raises(ImageNotFound, match=f"no credentials for {REGISTRY} are known"):
        await engine.fetch(f"{APP}:1", lambda _progress: None)
    credentials.write_text(auths("wrong"))
    with pytest.raises(ImageNotFound):
        await engine.fetch(f"{APP}:1", lambda _progress: None)
    credentials.write_text(known)
    with capture_logs() as logs:
        await engine.fetch(f"{APP}:1", lambda _progress: None)

    assert f"{APP}:1" in (await engine.observe()).images
    assert PASSWORD not in str(logs)
    docker.run("rmi", f"{APP}:1")


async def test_an_update_leaves_no_image_behind(loop, published):
    await loop.settle(f"{APP}:2")
    await loop.settle(f"{APP}:3")
    await loop.until(lambda _standing: tags(published) == {"3"})
    dangling = published.run("image", "ls", "--quiet", "--filter", "dangling=true").stdout.split()

    assert dangling == []
    assert loop.record.fetched == {f"{APP}:3"}


async def test_an_image_by_digest_is_fetched_and_goes_like_any_other(loop, published):
    digest = digest_of(published, f"{APP}:2")
    by_tag_too = f"{APP}:2@{digest}"
    await loop.settle(by_tag_too)
    first = runs(loop.reconciler.standing, by_tag_too)
    await loop.settle(f"{APP}:3")
    await loop.until(lambda _standing: tags(published) == {"3"})

    assert first != runs(loop.reconciler.standing, f"{APP}:3")


async def test_another_spelling_of_the_image_leaves_the_container(loop, published):
    digest = digest_of(published, f"{APP}:2")
    await loop.settle(f"{APP}:2@{digest}")
    first = runs(loop.reconciler.standing, f"{APP}:2@{digest}")
    service = {
        "serviceId": 1,
        "serviceName": "web",
        "config": {"image": f"{APP}@{digest}", "stopTimeoutSeconds": 1},
    }
    reading = read_target({"apps": {"7": {"appId": 7, "appName": "shop", "services": [service]}}})
    loop.reconciler.standing.settled_at = None
    loop.reconciler.declare(reading.target)
    await loop.until(lambda standing: standing.settled_at)

    assert runs(loop.reconciler.standing, f"{APP}:2@{digest}") == first
    assert loop.reconciler.standing.steps == []


async def test_an_image_that_somebody_elses_container_uses_stays(loop, published):
    await loop.settle(f"{APP}:2")
    published.run("create", "--name", "theirs", f"{APP}:2")
    await loop.settle(f"{APP}:3")
    await loop.until(lambda standing: standing.settled_at and f"{APP}:2" not in loop.record.fetched)

    assert tags(published) == {"2", "3"}
    assert loop.reconciler.standing.steps == []
    assert published.run("inspect", "--format", "{{.State.Status}}", "theirs").stdout.strip() == "created"


async def test_an_image_whose_tag_went_to_another_one_goes_with_its_container(loop, published):
    await loop.settle(f"{APP}:2")
    published.run("pull", f"{APP}:4")
    published.run("tag", f"{APP}:4", f"{APP}:2")  # as a person's pull of a tag that moved leaves it
    await loop.settle(f"{APP}:3")
    await loop.until(lambda _standing: "<none>" not in tags(published))


async def test_a_full_disk_costs_the_release_before_its_image_and_nothing_else(loop, published):
    await loop.settle(f"{APP}:2")
    ran = next(iter(loop.reconciler.standing.current.containers))
    await loop.settle(f"{APP}:3")
    loop.record.last_good = {ran.key: ran.config}
    loop.record.fetched.add(f"{APP}:2")
    published.run("pull", f"{APP}:2")
    loop.reconciler.look()
    await loop.until(lambda standing: f"{APP}:2" in standing.current.images)
    kept = tags(published)
    loop.full = True
    loop.reconciler.look()
    await loop.until(lambda _standing: tags(published) == {"3"})

    assert kept == {"2", "3"}
    assert {"web:1", "db:1"} <= {name for name in (await loop_images(loop)) if ":" in name}


async def loop_images(loop):
    return loop.reconciler.standing.current.images
