"""Target states as clouds write them: understood whole, or refused by name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.planning.model import (
    Mount,
    Port,
    Probe,
    ProbeKind,
    Resources,
    Restart,
    ServiceKey,
    ServiceState,
    Strategy,
)
from iotistic.planning.target import read_target

WHOLE = {
    "image": "registry.example/shop/web:1.2@sha256:" + "a" * 64,
    "environment": {"MODE": "fast", "LEVEL": 3, "DEBUG": True},
    "ports": ["8080:80", "53:53/udp", "127.0.0.1:9000:90", "[::1]:9001:90"],
    "volumes": ["data:/var/lib/data", "/etc/app:/etc/app:ro"],
    "networks": ["back"],
    "restart": "on-failure",
    "labels": {"team": "blue"},
    "command": ["serve", "--fast"],
    "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "0.25", "memory": "32M"}},
    "livenessProbe": {"type": "http", "path": "/live", "port": 80, "expectedStatus": [200, 204]},
    "readinessProbe": {"type": "tcp", "tcpPort": 80, "periodSeconds": 0.5},
    "startupProbe": {"type": "exec", "command": ["true"], "failureThreshold": 30},
    "stopTimeoutSeconds": 30,
    "updateStrategy": "handover",
    "handoverSeconds": 3,
}


def state(config: object, **service: Any) -> dict[str, Any]:
    named = {"serviceId": 3, "serviceName": "web", "config": config, **service}
    return {"apps": {"7": {"appId": 7, "appName": "shop", "services": [named]}}, "version": 4}


def faults(document: object) -> list[str]:
    return [str(fault) for fault in read_target(document).faults]


def test_every_field_is_understood() -> None:
    target, found = read_target(state(WHOLE, state="paused"))

    assert found == []
    service = target.apps[0].services[0]
    config = service.config
    assert service.key == ServiceKey("7", "3")
    assert service.state is ServiceState.PAUSED
    assert dict(config.environment) == {"MODE": "fast", "LEVEL": "3", "DEBUG": "true"}
    assert config.ports == {
        Port(8080, 80),
        Port(53, 53, "udp"),
        Port(9000, 90, "tcp", "127.0.0.1"),
        Port(9001, 90, "tcp", "::1"),
    }
    assert config.mounts == {Mount("data", "/var/lib/data"), Mount("/etc/app", "/etc/app", read_only=True)}
    assert config.volumes == {"data"}
    assert config.restart is Restart.ON_FAILURE
    assert config.strategy is Strategy.HAND_OVER
    assert config.resources == Resources(500_000_000, 64 << 20, 250_000_000, 32_000_000)
    assert config.probes.liveness == Probe(
        ProbeKind.HTTP, path="/live", port=80, expected_status=frozenset({200, 204})
    )
    assert config.probes.startup == Probe(ProbeKind.EXEC, command=("true",), failure_threshold=30)


def test_a_flat_service_of_an_older_cloud_means_the_same() -> None:
    flat = {
        "serviceId": "3",
        "serviceName": "web",
        "imageName": "web:1",
        "ports": ["80:80"],
        "labels": {"a": "b"},
    }
    nested = state({"image": "web:1", "ports": ["80:80"], "labels": {"a": "b"}})

    assert read_target({"apps": {"7": {"appName": "shop", "services": [flat]}}}) == read_target(nested)


def test_an_empty_state_is_no_fault() -> None:
    assert read_target({"apps": {}, "config": {}}).faults == []
    assert read_target({}).faults == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ports", ["80"], "ports[0]: is to be like"),
        ("ports", [80], "ports[0]: is to be like"),
        ("ports", ["1.2.3:80:80"], "ports[0]: is to be like"),
        ("ports", ["80:"], "ports[0]: is to be like"),
        ("ports", ["0:80"], "ports[0]: a port is from 1 to 65535"),
        ("ports", ["70000:80"], "ports[0]: a port is from 1 to 65535"),
        ("ports", ["80:80/sctp"], "ports[0]: is to be like"),
        ("ports", ["80:80", "80:81"], "ports: two of them are the same port of the device"),
        ("ports", "80:80", "ports: is to be a list"),
        ("volumes", ["data"], "volumes[0]: is to be like"),
        ("volumes", ["data:/d:rx"], "volumes[0]: is to be like"),
        ("volumes", ["../etc:/d"], "volumes[0]: is to be like"),
        ("volumes", ["/a/../etc:/d"], "volumes[0]: is to be like"),
        ("volumes", ["a:/d", "b:/d"], "volumes: two of them stand at the same place"),
        ("environment", ["A=1"], "environment: is to be an object"),
        ("environment", {"A": {}}, "environment: is to be a text"),
        ("environment", {"A=B": "1"}, "environment: 'A=B' cannot be a name"),
        ("labels", {"iotistic.app-id": "9"}, "labels: labels that begin with iotistic. are the agent's own"),
        ("restart", "sometimes", "restart: is one of no, always, unless-stopped, on-failure"),
        ("networkMode", "container:db", "networkMode: is one of host, none, bridge"),
        ("updateStrategy", "yolo", "updateStrategy: is one of download-then-kill"),
        ("resources", {"limits": {"memory": "lots"}}, "resources.limits.memory: an amount of memory"),
        ("resources", {"limits": {"cpu": "-1"}}, "resources.limits.cpu: an amount of CPU"),
        ("resources", {"limits": {"gpu": 1}}, "resources.limits.gpu: is not a key"),
        ("resources", {"swap": {}}, "resources.swap: is not a key"),
        ("livenessProbe", {"type": "smoke"}, "livenessProbe.type: is one of http, tcp, exec"),
        ("livenessProbe", {"type": "http"}, "livenessProbe.port: is missing"),
        ("livenessProbe", {"type": "exec"}, "livenessProbe.command: is missing"),
        ("livenessProbe", {}, "livenessProbe.type: is missing"),
        ("readinessProbe", {"type": "tcp", "port": 0}, "readinessProbe.port: is to be a whole number"),
        ("stopTimeoutSeconds", True, "stopTimeoutSeconds: is to be a whole number"),
        ("command", "serve", "command: is to be a list"),
        ("privileged", True, "privileged: is a key of compose files that is not supported"),
        ("depends_on", ["db"], "depends_on: is a key of compose files that is not supported"),
        ("imagee", "web:1", "imagee: is not a key that is known here"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(key: str, value: object, expected: str) -> None:
    found = faults(state({"image": "web:1", key: value}))
    assert expected in "; ".join(found)
    assert bool(expected) == bool(found)
    assert all(fault.startswith("apps.7.services[0].config.") for fault in found)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, "is to be an object"),
        ([], "is to be an object"),
        ({"apps": []}, "apps: is to be an object"),
        ({"apps": {"7": None}}, "apps.7: is to be an object"),
        ({"apps": {"7": {"appId": 8}}}, "apps.7.appId: is '8', but the app stands under '7'"),
        ({"apps": {"a b": {}}}, "an app's id has 1 to 64"),
        ({"apps": {"7": {"services": {}}}}, "apps.7.services: is to be a list"),
        ({"apps": {"7": {"services": [3]}}}, "apps.7.services[0]: is to be an object"),
        ({"apps": {"7": {"services": [{}]}}}, "apps.7.services[0].serviceId: is missing"),
        ({"aps": {}}, "aps: is not a key that is known here"),
        ({"options": {"force": "yes"}}, "options.force: is to be true or false"),
        ({"options": {"keepall": True}}, "options.keepall: is not a key"),
        (state({}), "config.image: is missing"),
        (state({"image": "Web 1"}), "config.image: is to be the name of an image"),
        (state({"image": "web:1"}, state="asleep"), "state: is one of running, stopped, paused"),
        (state({"image": "web:1"}, appId=8), "appId: is '8', but the service is of app '7'"),
        (state({"image": "web:1", "networks": ["a"], "networkMode": "host"}), "cannot stand beside networks"),
        (state({"image": "web:1", "ports": ["80:80"], "networkMode": "host"}), "have no meaning with"),
    ],
)
def test_a_document_that_makes_no_sense_says_where(document: object, expected: str) -> None:
    assert expected in "; ".join(faults(document))


def test_two_services_cannot_have_one_id_or_name() -> None:
    services = [{"serviceId": 1, "serviceName": "a", "imageName": "a:1"}] * 2
    found = faults({"apps": {"7": {"services": services}}})
    assert found == [
        "apps.7.services: the serviceId 1 stands there twice",
        "apps.7.services: the serviceName a stands there twice",
    ]


def test_one_port_of_the_device_cannot_be_offered_by_two_services_that_are_to_run() -> None:
    first = {"serviceId": 1, "serviceName": "a", "imageName": "a:1", "ports": ["8080:80", "53:53/udp"]}
    second = {"serviceId": 2, "serviceName": "b", "imageName": "a:1", "ports": ["127.0.0.1:8080:81", "53:53"]}
    found = faults({"apps": {"7": {"services": [first]}, "8": {"services": [second]}}})

    assert found == ["apps.8.services[0].config.ports: port 8080/tcp of the device is a's already"]


def test_a_service_that_is_to_stand_still_offers_nothing() -> None:
    first = {"serviceId": 1, "serviceName": "a", "imageName": "a:1", "ports": ["8080:80"], "state": "stopped"}
    second = {"serviceId": 2, "serviceName": "b", "imageName": "a:1", "ports": ["8080:80"]}

    assert faults({"apps": {"7": {"services": [first, second]}}}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=30,
)


@given(JSON)
def test_no_document_makes_the_reader_fall(document: object) -> None:
    read_target(document)


@given(st.sampled_from(sorted(WHOLE)), JSON)
def test_no_value_makes_the_reader_fall(key: str, value: object) -> None:
    read_target(state({**WHOLE, key: value}))


def test_the_order_of_what_has_none_does_not_matter() -> None:
    turned = {
        key: value[::-1] if key in ("ports", "volumes") else value for key, value in reversed(WHOLE.items())
    }
    assert read_target(state(turned)) == read_target(state(WHOLE))
