"""What the engine for Kubernetes promises besides the contract of all engines."""

import asyncio
import time

import pytest
from engine_hands import BACK, DATA, MISSING, THERE, service
from k3s_fixtures import REAL
from k3s_hands import HOME

from iotistic.agent.engines.docker.pulling import Credentials
from iotistic.agent.engines.errors import (
    EngineUnavailable,
    ImageNotFound,
    StartRefused,
    StepRefused,
)
from iotistic.agent.engines.k3s.access import Access
from iotistic.agent.engines.k3s.engine import K3sEngine
from iotistic.agent.engines.port import Change
from iotistic.planning.model import (
    Health,
    Mount,
    Named,
    Port,
    Probe,
    ProbeKind,
    Probes,
    Resources,
    Restart,
    Status,
)

only_double = pytest.mark.skipif(bool(REAL), reason="a real API server does not misbehave on demand")


@pytest.fixture
def hands(k3s_hands):
    return k3s_hands


async def items(hands, path):
    return (await hands.client.get(path))["items"]


async def nothing_is_fetched(hands):
    pods = await items(hands, f"api/v1/{HOME}/pods")
    return not any(pod["metadata"]["name"].startswith("fetch-") for pod in pods)


async def test_nothing_is_left_of_a_fetch(hands):
    await hands.engine.fetch(THERE, lambda _: None)
    with pytest.raises(ImageNotFound):
        await hands.engine.fetch(MISSING, lambda _: None)
    await hands.until(lambda: nothing_is_fetched(hands))


async def test_a_fetch_that_is_given_up_leaves_nothing(hands, cluster):
    cluster.kubelet.images.clear()
    fetching = asyncio.create_task(hands.engine.fetch("slow/one:1", lambda _: None))
    await asyncio.sleep(0.05)
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    await hands.until(lambda: nothing_is_fetched(hands))


async def test_credentials_go_to_the_kubelet_as_a_secret_that_services_use_too(hands, cluster):
    await hands.engine.fetch(THERE, lambda _: None)
    container_id = await hands.engine.create(service(THERE))
    _, document = await hands.workload(container_id)
    (named,) = document["spec"]["template"]["spec"]["imagePullSecrets"]
    secret = await hands.client.get(f"api/v1/{HOME}/secrets/{named['name']}")

    assert secret["type"] == "kubernetes.io/dockerconfigjson"


async def test_credentials_that_changed_are_brought_up_to_date(hands, cluster):
    wrong = K3sEngine(cluster.access, lambda _: Credentials("device", "wrong"))
    with pytest.raises(ImageNotFound):
        await wrong.fetch(THERE, lambda _: None)
    await wrong.close()
    await hands.engine.fetch(THERE, lambda _: None)

    assert THERE in (await hands.engine.observe()).images


async def test_a_start_whose_image_has_gone_is_refused_and_put_back(hands, cluster):
    container_id = await hands.engine.create(service())
    cluster.kubelet.images.discard("web:1")
    with pytest.raises(StartRefused, match="not found"):
        await hands.engine.start(container_id)
    await hands.until_status(container_id, Status.CREATED)


async def test_an_update_by_hand_to_an_image_that_nobody_has_keeps_the_service_running(hands):
    container_id = await hands.running()
    path, _ = await hands.workload(container_id)
    container = {"name": "main", "image": MISSING}
    await hands.client.patch(path, {"spec": {"template": {"spec": {"containers": [container]}}}})
    await asyncio.sleep(0.5)
    one = await hands.seen(container_id)

    assert one.status is Status.RUNNING
    assert one.config.image == MISSING


async def test_limits_that_a_person_changed_are_seen_and_put_right(hands):
    wanted = service(resources=Resources(memory_limit=64 << 20))
    container_id = await hands.running(wanted)
    path, document = await hands.workload(container_id)
    containers = document["spec"]["template"]["spec"]["containers"]
    containers[0]["resources"]["limits"]["memory"] = "128Mi"
    await hands.client.patch(path, {"spec": {"template": {"spec": {"containers": containers}}}})
    assert (await hands.seen(container_id)).config.resources.memory_limit == 128 << 20
    await hands.engine.update(container_id, "web", wanted.config)

    assert (await hands.seen(container_id)).config == wanted.config


async def test_an_update_never_leaves_the_service_without_a_pod(hands):
    container_id = await hands.running()
    statuses = set()
    await hands.engine.update(container_id, "web", service(resources=Resources(memory_limit=64 << 20)).config)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        statuses.add((await hands.seen(container_id)).status)
        await asyncio.sleep(0.01)

    assert statuses == {Status.RUNNING}


async def test_a_deployment_does_not_become_a_job(hands):
    container_id = await hands.running()
    with pytest.raises(StepRefused, match="needs another container"):
        await hands.engine.update(container_id, "web", service(restart=Restart.NO).config)


async def test_a_job_is_not_changed_but_for_what_is_no_part_of_its_pods(hands):
    wanted = service(restart=Restart.NO)
    container_id = await hands.running(wanted)
    await hands.engine.update(container_id, "web", service(restart=Restart.NO, handover_s=9).config)
    assert (await hands.seen(container_id)).config.handover_s == 9
    with pytest.raises(StepRefused):
        await hands.engine.update(
            container_id,
            "web",
            service(restart=Restart.NO, resources=Resources(memory_limit=64 << 20)).config,
        )


async def test_a_job_is_stopped_started_paused_and_run_again(hands):
    container_id = await hands.running(service(restart=Restart.NO))
    await hands.engine.pause(container_id)
    assert (await hands.seen(container_id)).status is Status.PAUSED
    await hands.engine.unpause(container_id)
    await hands.engine.stop(container_id, 5)
    assert (await hands.seen(container_id)).status is Status.EXITED
    await hands.engine.start(container_id)
    assert (await hands.seen(container_id)).status is Status.RUNNING

    ended = await hands.running(service("crash:1", "crash", restart=Restart.NO))
    await hands.until_status(ended, Status.EXITED)
    assert (await hands.seen(ended)).exit_code == 3
    await hands.engine.start(ended)
    await hands.until_status(ended, Status.EXITED)


async def test_a_crash_loop_is_heard_again_and_again(hands):
    heard = []

    async def listen():
        async for event in hands.engine.events():
            heard.append((event.change, event.exit_code, event.by_order))  # noqa: PERF401  told as it comes

    listening = asyncio.create_task(listen())
    container_id = await hands.running(service("crash:1"))
    crash = (Change.ENDED, 3, False)
    async with asyncio.timeout(20):
        while heard.count(crash) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await hands.until_status(container_id, Status.RESTARTING)


async def test_readiness_is_what_the_kubelet_says(hands):
    probes = Probes(readiness=Probe(ProbeKind.TCP, port=80))
    container_id = await hands.running(service(probes=probes))

    assert (await hands.seen(container_id)).health is Health.READY


async def test_a_port_that_somebody_else_has_is_refused_by_the_scheduler(hands):
    await hands.make_foreign()
    container = {"name": "theirs", "image": "db:1", "ports": [{"containerPort": 80, "hostPort": 8080}]}
    body = {
        "metadata": {"name": "busy"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    await hands.client.create(f"api/v1/{HOME}/pods", body)
    container_id = await hands.engine.create(service(ports=frozenset({Port(8080, 80)})))
    await asyncio.sleep(0.2)
    with pytest.raises(StartRefused, match="ports"):
        await hands.engine.start(container_id)


async def test_names_that_kubernetes_does_not_take_are_no_hindrance(hands):
    wanted = service(
        name="Web_Server.1",
        mounts=frozenset({Mount("My_Data", "/data")}),
        networks=frozenset({"Back_End"}),
        labels=frozenset({("a b", "c d"), ("ok", "x" * 80)}),
    )
    network, volume = Named("7", "Back_End"), Named("7", "My_Data")
    await hands.engine.create_network(network)
    await hands.engine.create_volume(volume)
    container_id = await hands.running(wanted)
    current = await hands.engine.observe()

    assert (current.networks, set(current.volumes)) == ({network}, {volume})
    assert [(one.id, one.name, one.config) for one in current.containers] == [
        (container_id, "Web_Server.1", wanted.config)
    ]


async def test_things_of_others_are_not_taken_for_ours(hands):
    await hands.make_foreign()
    body = {"metadata": {"name": "network.7.back"}}
    await hands.client.create(f"api/v1/{HOME}/configmaps", body)
    with pytest.raises(StepRefused, match="not the agent's"):
        await hands.engine.create_network(BACK)
    await hands.engine.remove_network(BACK)

    assert "network.7.back" in [
        one["metadata"]["name"] for one in await items(hands, f"api/v1/{HOME}/configmaps")
    ]


async def test_services_of_an_app_are_found_by_name_in_its_domain(hands):
    await hands.running()
    found = await hands.client.get(f"api/v1/{HOME}/services/app-7")

    assert found["spec"]["clusterIP"] == "None"
    assert found["spec"]["selector"] == {"iotistic.managed": "true", "iotistic.app-id": "7"}


async def test_an_image_in_use_is_not_given_up(hands):
    await hands.running()
    with pytest.raises(StepRefused):
        await hands.engine.remove_image("web:1")


async def test_a_volume_keeps_the_time_it_was_made_at(hands):
    began = time.time()
    await hands.engine.create_volume(DATA)
    first = (await hands.engine.observe()).volumes[DATA]
    await hands.engine.create_volume(DATA)

    assert (await hands.engine.observe()).volumes[DATA] == first
    assert began - 1 <= first <= time.time() + 1


async def test_wrong_credentials_are_an_engine_that_is_away(cluster):
    engine = K3sEngine(Access(cluster.access.server, cluster.access.authority, token="wrong"))
    with pytest.raises(EngineUnavailable):
        await engine.observe()
    with pytest.raises(EngineUnavailable):
        await anext(engine.events())
    await engine.close()


async def test_a_kubernetes_that_is_lost_is_unavailable_in_every_call():
    engine = K3sEngine(Access("http://127.0.0.1:9"))
    calls = (
        engine.observe(),
        engine.fetch("a", print),
        engine.create(service()),
        engine.start("a"),
        engine.stop("a", 1),
        engine.remove("a"),
        engine.pause("a"),
        engine.unpause("a"),
        engine.update("a", "a", service().config),
        engine.create_network(BACK),
        engine.remove_network(BACK),
        engine.create_volume(DATA),
        engine.remove_volume(DATA),
        engine.remove_image("a"),
        anext(engine.logs("a")),
        anext(engine.events()),
    )
    for call in calls:
        with pytest.raises(EngineUnavailable):
            await call
    await engine.close()


@only_double
@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_whatever_refuses_a_look_is_an_engine_that_is_away(hands, cluster, status):
    cluster.kubelet.look_every_s = 60
    await asyncio.sleep(0.1)
    cluster.double.refusals.append((status, "no"))
    with pytest.raises(EngineUnavailable):
        await hands.engine.observe()
