"""A service as Kubernetes is asked for it, and read back as the same service."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.engines.errors import StartRefused
from iotistic.agent.engines.k3s import making, names
from iotistic.agent.engines.k3s.making import DEPLOYMENT, JOB, State
from iotistic.agent.engines.k3s.reading import read, service_of
from iotistic.agent.engines.k3s.template import Surroundings
from iotistic.planning.model import (
    Mount,
    Port,
    Probe,
    ProbeKind,
    Probes,
    Resources,
    Restart,
    Service,
    ServiceConfig,
    ServiceKey,
    Status,
    Strategy,
)

words = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,30}", fullmatch=True)
values = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
) | st.sampled_from(["$HOME", "$(HOME)", "$$(HOME)", "$$"])
pairs = st.dictionaries(words, values, max_size=3).map(lambda found: frozenset(found.items()))
ports = st.builds(
    Port,
    st.integers(1, 65_535),
    st.integers(1, 65_535),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from(["", "127.0.0.1", "::1"]),
)
mounts = st.builds(Mount, words | words.map("/srv/{}".format), words.map("/{}".format), st.booleans())
amounts = st.none() | st.integers(1, 1 << 50)
probes = (
    st.builds(
        Probe,
        st.just(ProbeKind.HTTP),
        path=words,
        port=st.integers(1, 65_535),
        headers=pairs,
        period_s=st.floats(0, 60),
        timeout_s=st.floats(0, 60),
    )
    | st.builds(
        Probe, st.just(ProbeKind.TCP), port=st.integers(1, 65_535), success_threshold=st.integers(1, 9)
    )
    | st.builds(Probe, st.just(ProbeKind.EXEC), command=st.lists(words, min_size=1, max_size=2).map(tuple))
)
configs = st.builds(
    ServiceConfig,
    words.map("a{}".format),
    environment=pairs,
    ports=st.lists(ports, max_size=3, unique_by=lambda port: port.host).map(frozenset),
    mounts=st.lists(mounts, max_size=3, unique_by=lambda mount: mount.target).map(frozenset),
    networks=st.frozensets(words, max_size=2),
    labels=pairs,
    command=st.lists(values, max_size=3).map(tuple),
    restart=st.sampled_from(Restart),
    resources=st.builds(Resources, amounts, amounts, amounts, amounts),
    probes=st.builds(Probes, st.none() | probes, st.none() | probes, st.none() | probes),
    stop_timeout_s=st.integers(0, 3600),
    strategy=st.sampled_from(Strategy),
    handover_s=st.integers(0, 3600),
)
ids = st.from_regex(r"[a-zA-Z0-9_.-]{1,64}", fullmatch=True)
services = st.builds(Service, st.builds(ServiceKey, ids, ids), words, configs, app_name=st.just("") | words)
AROUND = Surroundings()


def made(config=None, *, state=State.CREATED, **more):
    service = Service(ServiceKey("7", "1"), "web", config or ServiceConfig("web:1", **more), app_name="shop")
    body = making.workload(service, "shop-web-1-0", AROUND)
    body["metadata"]["annotations"][names.STATE] = state
    return body


def pod_of(body):
    return body["spec"]["template"]["spec"]


def container_of(body):
    return pod_of(body)["containers"][0]


@given(services)
def test_what_is_made_is_read_as_the_same_service(service):
    body = json.loads(json.dumps(making.workload(service, names.workload_name(service), AROUND)))
    one = read(making.kind_for(service.config), body, [])

    assert one is not None
    assert (one.key, one.name, one.config, one.status) == (
        service.key,
        service.name,
        service.config,
        Status.CREATED,
    )
    assert service_of(body) == service


@given(services)
def test_whatever_a_target_says_kubernetes_takes_the_names(service):
    body = making.workload(service, names.workload_name(service), AROUND)
    template = body["spec"]["template"]
    for one in (body, template):
        assert all(names.is_label_pair(name, value) for name, value in one["metadata"]["labels"].items())
    named = [body["metadata"]["name"], template["spec"]["hostname"], template["spec"]["subdomain"]]
    assert all(map(names.is_label, named))
    for volume in template["spec"]["volumes"]:
        claim = volume.get("persistentVolumeClaim", {}).get("claimName", "volume.a.b")
        assert all(map(names.is_label, claim.split(".")))


def test_a_service_that_goes_on_is_a_deployment_and_one_that_ends_a_job():
    kinds = {restart: making.kind_for(ServiceConfig("a", restart=restart)) for restart in Restart}

    assert kinds == {
        Restart.ALWAYS: DEPLOYMENT,
        Restart.UNLESS_STOPPED: DEPLOYMENT,
        Restart.ON_FAILURE: JOB,
        Restart.NO: JOB,
    }
    assert made(restart=Restart.NO)["spec"]["backoffLimit"] == 0
    assert pod_of(made(restart=Restart.NO))["restartPolicy"] == "Never"
    assert pod_of(made(restart=Restart.ON_FAILURE))["restartPolicy"] == "OnFailure"


def test_nothing_runs_before_it_is_started():
    assert made()["spec"]["replicas"] == 0
    assert made(restart=Restart.NO)["spec"]["suspend"] is True


def test_an_update_keeps_the_pod_before_until_the_new_one_is_ready_unless_they_share_a_port():
    careful = made()["spec"]["strategy"]
    with_port = made(ports=frozenset({Port(80, 80)}))["spec"]["strategy"]

    assert careful == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert with_port["type"] == "Recreate"
    assert made(network_mode="host")["spec"]["strategy"]["type"] == "Recreate"


def test_ports_are_ports_of_the_device():
    found = container_of(made(ports=frozenset({Port(53, 5353, "udp", "127.0.0.1"), Port(80, 8080)})))["ports"]

    assert found == [
        {"containerPort": 5353, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"},
        {"containerPort": 8080, "hostPort": 80, "protocol": "TCP"},
    ]


def test_a_limit_alone_reserves_nothing():
    found = container_of(made(resources=Resources(cpu_limit=333_333_333, memory_limit=64 << 20)))["resources"]

    assert found == {
        "limits": {"cpu": "334m", "memory": "67108864"},
        "requests": {"cpu": "0", "memory": "0"},
    }


def test_volumes_are_claims_and_folders_are_the_devices():
    found = pod_of(
        made(mounts=frozenset({Mount("data", "/data"), Mount("/etc/app", "/app", read_only=True)}))
    )

    assert found["volumes"] == [
        {"name": "v0", "hostPath": {"path": "/etc/app"}},
        {"name": "v1", "persistentVolumeClaim": {"claimName": "volume.7.data"}},
    ]
    assert [one["readOnly"] for one in found["containers"][0]["volumeMounts"]] == [True, False]


def test_a_service_is_found_under_its_name_within_its_app():
    found = pod_of(made())

    assert (found["hostname"], found["subdomain"]) == ("web", "app-7")
    assert found["dnsConfig"] == {"searches": ["app-7.iotistic.svc.cluster.local"]}
    assert making.domain("7")["spec"] == {
        "clusterIP": "None",
        "selector": {"iotistic.managed": "true", "iotistic.app-id": "7"},
    }


def test_probes_are_in_whole_seconds_and_only_readiness_wants_several_successes():
    probe = Probe(ProbeKind.HTTP, "up", 80, "https", period_s=0.2, timeout_s=1.5, success_threshold=3)
    found = container_of(made(probes=Probes(probe, probe, probe)))

    assert found["readinessProbe"] == {
        "httpGet": {"path": "/up", "port": 80, "scheme": "HTTPS"},
        "initialDelaySeconds": 0,
        "periodSeconds": 1,
        "timeoutSeconds": 2,
        "successThreshold": 3,
        "failureThreshold": 3,
    }
    assert [found[name]["successThreshold"] for name in ("startupProbe", "livenessProbe")] == [1, 1]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (ServiceConfig("a", network_mode="none"), "networkMode none"),
        (
            ServiceConfig(
                "a", probes=Probes(liveness=Probe(ProbeKind.HTTP, port=1, expected_status=frozenset({200})))
            ),
            "expectedStatus of the livenessProbe",
        ),
    ],
)
def test_what_kubernetes_cannot_do_is_refused_by_its_name(config, named):
    with pytest.raises(StartRefused, match=named):
        made(config)


def test_containers_are_given_no_rights_in_the_cluster():
    assert pod_of(made())["automountServiceAccountToken"] is False


def test_changes_touch_neither_what_it_was_told_nor_what_cannot_be_changed():
    changed = making.changes(made(state=State.RUNNING))

    assert names.STATE not in changed["metadata"]["annotations"]
    assert not {"replicas", "selector", "suspend"} & changed["spec"].keys()


def test_a_job_that_ended_is_made_again_as_it_was_asked_for():
    body = made(restart=Restart.NO)
    written = json.loads(json.dumps(body))
    written["metadata"] |= {"uid": "1", "resourceVersion": "2"}
    written["spec"] |= {"suspend": False, "selector": {"matchLabels": {"controller-uid": "1"}}}
    written["spec"]["template"]["metadata"]["labels"] |= {
        "controller-uid": "1",
        "job-name": "x",
        "batch.kubernetes.io/job-name": "x",
    }
    written["status"] = {"conditions": []}

    assert making.again(written) == body


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_texts_never_get_one_name(one, other):
    assert names.is_label(names.dns_label(one))
    assert (names.dns_label(one) == names.dns_label(other)) is (one == other)
