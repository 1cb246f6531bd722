"""What a device tells its cloud."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.reporting.deltas import Deltas
from iotistic.agent.reporting.services import describe_apps, written_id
from iotistic.planning.facts import Facts
from iotistic.planning.model import (
    App,
    Container,
    Current,
    Failures,
    Release,
    Service,
    ServiceConfig,
    ServiceKey,
    ServiceState,
    Status,
    Target,
)
from iotistic.planning.steps import Fetch, Start

KEY = ServiceKey("7", "3")
CONFIG = ServiceConfig("web:2")


def target(state: ServiceState = ServiceState.RUNNING) -> Target:
    return Target((App("7", "shop", (Service(KEY, "web", CONFIG, state),)),))


def container(status: Status, image: str = "web:2", container_id: str = "c1") -> Container:
    return Container(container_id, KEY, "web", ServiceConfig(image), status)


def described(
    current: Current, facts: Facts | None = None, wanted: Target | None = None
) -> dict[str, object]:
    apps = describe_apps(wanted or target(), current, facts or Facts())
    (service,) = apps["7"]["services"]
    return service


def test_a_service_that_runs_is_told_with_its_container() -> None:
    assert described(Current((container(Status.RUNNING),))) == {
        "serviceId": 3,
        "serviceName": "web",
        "imageName": "web:2",
        "state": "running",
        "status": "running",
        "serviceStatus": "running",
        "containerId": "c1",
    }


@pytest.mark.parametrize(
    ("containers", "wanted", "expected"),
    [
        ((), ServiceState.RUNNING, "pending"),
        ((), ServiceState.STOPPED, "stopped"),
        ((Status.CREATED,), ServiceState.RUNNING, "pending"),
        ((Status.EXITED,), ServiceState.RUNNING, "stopped"),
        ((Status.EXITED,), ServiceState.STOPPED, "stopped"),
        ((Status.PAUSED,), ServiceState.PAUSED, "stopped"),
        ((Status.EXITED, Status.RUNNING), ServiceState.RUNNING, "running"),
    ],
)
def test_the_status_of_a_service_follows_its_container(
    containers: tuple[Status, ...], wanted: ServiceState, expected: str
) -> None:
    current = Current(tuple(container(status, container_id=str(status)) for status in containers))
    assert described(current, wanted=target(wanted))["serviceStatus"] == expected


def test_what_runs_is_told_while_the_new_image_cannot_be_fetched() -> None:
    facts = Facts(now=100, failures={Fetch("web:2"): Failures(3, 100, "no route to the registry")})
    told = described(Current((container(Status.RUNNING, "web:1"),)), facts)

    assert told["imageName"] == "web:1"
    assert told["status"] == "running"
    assert told["error"] == {
        "type": "ImagePullBackOff",
        "message": "no route to the registry",
        "timestamp": 100_000,
        "retryCount": 3,
        "nextRetry": 140_000,
    }


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(failures={Fetch("web:2"): Failures(1, 0)}), "ErrImagePull"),
        (Facts(failures={Start(target().apps[0].services[0]): Failures(2, 0)}), "StartFailure"),
        (Facts(crashes={Release(KEY, CONFIG): Failures(2, 0)}), "CrashLoopBackOff"),
    ],
)
def test_each_fault_has_its_name(facts: Facts, expected: str) -> None:
    told = described(Current((container(Status.EXITED),)), facts)
    assert told["serviceStatus"] == "error"
    assert told["error"]["type"] == expected  # type: ignore[index]


def test_a_crash_of_the_past_is_no_error_of_what_runs() -> None:
    facts = Facts(crashes={Release(KEY, CONFIG): Failures(2, 0)})
    assert "error" not in described(Current((container(Status.RUNNING),)), facts)


def test_a_container_that_is_to_go_is_still_told() -> None:
    apps = describe_apps(Target(), Current((container(Status.RUNNING),)), Facts())
    assert apps["7"]["services"][0]["containerId"] == "c1"


@pytest.mark.parametrize(("text", "expected"), [("7", 7), ("07", "07"), ("a", "a"), ("²", "²"), ("-1", "-1")])
def test_ids_are_numbers_where_they_were(text: str, expected: int | str) -> None:
    assert written_id(text) == expected


STATES = st.dictionaries(
    st.sampled_from(["apps", "config", "is_online", "version", "local_ip"]), st.integers(0, 2), max_size=5
)


@given(st.lists(st.tuples(STATES, st.booleans()), min_size=1))
def test_the_cloud_ends_up_knowing_everything_whatever_is_lost(
    reports: list[tuple[dict[str, int], bool]],
) -> None:
    deltas, cloud = Deltas(), dict[str, int]()
    last = reports[-1][0]
    for state, arrives in [*reports, (last, True)]:
        delta = deltas.next(state)
        if delta is not None and arrives:
            cloud |= delta.fields
            deltas.acknowledged(delta)

    assert cloud.items() >= last.items()


def test_what_did_not_change_is_not_told_again() -> None:
    deltas = Deltas()
    first = deltas.next({"apps": {}, "version": 1})
    assert first is not None
    deltas.acknowledged(first)
    assert deltas.next({"apps": {}, "version": 1}) is None
    assert Deltas(deltas.known).next({"apps": {}, "version": 1}) is None
    second = deltas.next({"apps": {"7": {}}, "version": 1, "is_online": True})
    assert second is not None
    assert second.fields == {"apps": {"7": {}}, "version": 1, "is_online": True}


def test_what_may_have_been_lost_is_told_again_also_when_its_answer_comes_later() -> None:
    deltas, state = Deltas(), {"apps": {}, "version": 1}
    told = deltas.next(state)
    assert told is not None
    deltas.acknowledged(told)
    under_way = deltas.next(state | {"apps": {"7": {}}})
    deltas.forget()
    assert under_way is not None
    deltas.acknowledged(under_way)

    assert deltas.next(state) is not None
