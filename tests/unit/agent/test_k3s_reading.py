"""What Kubernetes says of a workload and its pods, as the planner sees it."""

import copy

import pytest
from test_k3s_making import container_of, made

from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.making import DEPLOYMENT, JOB, State
from iotistic.agent.engines.k3s.reading import Pod, read
from iotistic.planning.model import Health, Probe, ProbeKind, Probes, Resources, Restart, Status

AT = "2026-01-01T00:00:00Z"
RUNNING = {"running": {"startedAt": AT}}
PULLING = {"waiting": {"reason": "ContainerCreating"}}
CRASHED = {"terminated": {"exitCode": 3, "startedAt": AT}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}


def pod(state, phase="Running", *, name="a", leaving=False, probes=False, **more):
    metadata = {"name": name, "creationTimestamp": AT, "labels": {names.CONTAINER: "shop-web-1-0"}}
    metadata |= {"deletionTimestamp": AT} if leaving else {}
    container = {"name": "main"} | ({"readinessProbe": {"tcpSocket": {}}} if probes else {})
    status = {"phase": phase, "containerStatuses": [{"name": "main", "state": state, **more}]}
    return Pod({"metadata": metadata, "spec": {"containers": [container]}, "status": status})


def let_go(body):
    body["spec"] |= {"replicas": 1} if body["kind"] == "Deployment" else {"suspend": False}
    return body


@pytest.mark.parametrize(
    ("state", "held", "pods", "status"),
    [
        (State.CREATED, True, [], Status.CREATED),
        (State.RUNNING, False, [], Status.RESTARTING),
        (State.RUNNING, False, [pod(PULLING, "Pending")], Status.RESTARTING),
        (State.RUNNING, False, [pod({}, "Pending")], Status.RESTARTING),
        (State.RUNNING, False, [pod(RUNNING)], Status.RUNNING),
        (State.RUNNING, False, [pod(BACK_OFF)], Status.RESTARTING),
        (State.RUNNING, False, [pod(CRASHED)], Status.RESTARTING),
        (State.RUNNING, False, [pod(RUNNING, leaving=True)], Status.RESTARTING),
        (State.RUNNING, False, [pod(PULLING, name="b"), pod(RUNNING)], Status.RUNNING),
        (State.RUNNING, False, [pod(RUNNING, leaving=True), pod(RUNNING, name="b")], Status.RUNNING),
        (State.RUNNING, True, [pod(RUNNING)], Status.REMOVING),
        (State.RUNNING, True, [pod(RUNNING, leaving=True)], Status.REMOVING),
        (State.RUNNING, True, [], Status.EXITED),
        (State.STOPPED, True, [], Status.EXITED),
        (State.STOPPED, True, [pod(CRASHED, "Failed")], Status.EXITED),
        (State.PAUSED, True, [], Status.PAUSED),
        (State.PAUSED, True, [pod(RUNNING, leaving=True)], Status.PAUSED),
        (State.STOPPED, False, [pod(RUNNING)], Status.RUNNING),
    ],
)
def test_a_deployment_is_called_what_it_comes_to(state, held, pods, status):
    body = made(state=state) if held else let_go(made(state=state))

    assert read(DEPLOYMENT, body, pods).status is status


@pytest.mark.parametrize(
    ("held", "pods", "conditions", "expected"),
    [
        (True, [], [], (Status.EXITED, None)),
        (False, [pod(RUNNING)], [], (Status.RUNNING, None)),
        (False, [pod(CRASHED, "Failed")], [], (Status.EXITED, 3)),
        (False, [pod(CRASHED, "Failed")], [{"type": "Failed", "status": "True"}], (Status.EXITED, 3)),
        (False, [], [{"type": "Complete", "status": "True"}], (Status.EXITED, None)),
        (False, [], [{"type": "Complete", "status": "False"}], (Status.RESTARTING, None)),
    ],
)
def test_a_job_is_called_what_it_comes_to(held, pods, conditions, expected):
    body = made(state=State.STOPPED, restart=Restart.NO)
    body = body if held else let_go(body)
    body["status"] = {"conditions": conditions}
    one = read(JOB, body, pods)

    assert (one.status, one.exit_code) == expected


@pytest.mark.parametrize(
    ("said", "health"),
    [
        ({"ready": True, "started": True}, Health.READY),
        ({"ready": False, "started": True}, Health.NOT_READY),
        ({"ready": False, "started": False}, Health.STARTING),
    ],
)
def test_kubelets_say_how_a_service_is(said, health):
    body = let_go(made(state=State.RUNNING, probes=Probes(readiness=Probe(ProbeKind.TCP, port=1))))

    assert read(DEPLOYMENT, body, [pod(RUNNING, probes=True, **said)]).health is health
    assert read(DEPLOYMENT, body, [pod(RUNNING, **said)]).health is Health.UNKNOWN


def test_times_are_seconds():
    body = let_go(made(state=State.RUNNING))

    assert read(DEPLOYMENT, body, [pod(RUNNING)]).started_at == 1767225600


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("image", {"image": "other:1"}),
        ("environment", {"env": [{"name": "A", "value": "2"}]}),
        ("environment", {"env": None}),
        ("command", {"args": ["sh"]}),
        ("resources", {"resources": {"limits": {"memory": "128Mi"}}}),
        ("resources", {"resources": {}}),
    ],
)
def test_what_somebody_changed_by_hand_is_seen(field, change):
    body = made(environment=frozenset({("A", "1")}), resources=Resources(memory_limit=64 << 20))
    before = read(DEPLOYMENT, body, []).config
    changed = copy.deepcopy(body)
    container_of(changed).update(change)
    after = read(DEPLOYMENT, changed, []).config

    assert getattr(after, field) != getattr(before, field)


def test_what_kubernetes_adds_is_no_change():
    body = made(resources=Resources(cpu_limit=1_000_000_000, memory_limit=64 << 20))
    before = read(DEPLOYMENT, body, []).config
    container_of(body).update(
        {
            "terminationMessagePath": "/dev/termination-log",
            "resources": {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "0", "memory": "0"}},
        }
    )
    body["spec"]["template"]["spec"]["containers"].insert(0, {"name": "of-a-mesh", "image": "mesh:1"})

    assert read(DEPLOYMENT, body, []).config == before


@pytest.mark.parametrize("spoiled", ["", "{", "[]", '{"image": 5}', None])
def test_a_spoiled_annotation_is_another_configuration(spoiled):
    body = made(environment=frozenset({("A", "1")}))
    before = read(DEPLOYMENT, body, []).config
    body["metadata"]["annotations"][names.CONFIG] = spoiled

    assert read(DEPLOYMENT, body, []).config != before


def test_what_is_not_ours_is_not_read():
    body = made()
    body["metadata"]["annotations"] = None

    assert read(DEPLOYMENT, body, []) is None
