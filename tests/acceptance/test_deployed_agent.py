"""A deployed agent of the earlier system, unmodified, against a whole installation: what it says is in tests/cases."""

import contextlib
import secrets

import pytest
from deployed_agent import BrokerLink, DeployedAgent
from fault_tools import site, until
from outside_tools import as_service, ask, latest

pytestmark = pytest.mark.slow

HALL = {
    "PROVISIONING_ATTEMPTS_PER_WINDOW": "100",
    "PROVISIONING_FAILURES_PER_HOUR": "100",
    "PROVISIONING_EXCHANGES_PER_HOUR": "100",
    "BROKER_GRANT_PAUSE_S": "1",
    "BROKER_REVOKE_PAUSE_S": "1",
}
"""All devices of the test come from one address, one after the other, and nobody waits long for the broker."""
ENDS = ["SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "CANCELED"]


@pytest.fixture(scope="module")
def installation():
    with site(**HALL) as running:
        yield running


@pytest.fixture(scope="module")
def arrive(installation):
    """Return a function that gives another agent, registered with one provisioning key for all."""
    ready = installation.ready
    body = {"fleetId": "default-fleet", "maxDevices": 10}
    answer = ask(ready["api"], "/api/v1/provisioning-keys", "POST", body=body, token=ready["token"])
    assert answer.status == 201, answer.body
    with contextlib.ExitStack() as stack:

        def arrived():
            agent = DeployedAgent(ready["api"], ready["token"], answer.json()["key"])
            stack.callback(agent.close)
            agent.play("arrival")
            return agent

        yield arrived


@pytest.fixture(scope="module")
def agent(arrive):
    agent = arrive()
    other = arrive().known
    account = {name: other[name] for name in ("uuid", "username", "password")}
    agent.know(neighbour=other["uuid"], neighbour_account=account)
    return agent


@pytest.fixture
def link(agent):
    """The agent at the broker, which has taken over its account and its neighbour's by then."""
    neighbour = agent.known["neighbour_account"]
    let_in(agent, **neighbour).close()
    with contextlib.closing(let_in(agent)) as opened:
        yield opened


def let_in(agent, **known):
    """Connect, again until the broker does not refuse."""
    return until(lambda: attempt(agent, **known), 20)


def attempt(agent, **known):
    with contextlib.suppress(OSError):
        return BrokerLink(agent, **known)


def eventually(check, within_s=15):
    """Try a check until it passes; at the end of the time, let it fail."""

    def passes():
        with contextlib.suppress(AssertionError):
            check()
            return True
        return False

    with contextlib.suppress(AssertionError):
        until(passes, within_s)
    check()


def test_it_polls_by_etag_and_gets_what_was_deployed(agent):
    agent.play("poll")


def test_what_a_report_does_not_mention_stays(agent):
    agent.play("report")

    eventually(lambda: agent.play("report", "after"))


def test_its_logs_are_taken_packed_plain_and_as_an_array_and_kept_once(agent):
    agent.play("logs")


@pytest.mark.parametrize("status", ENDS)
def test_a_job_is_fetched_and_ends_as_it_says(agent, status):
    agent.play("job", status=status)


def test_its_key_is_rotated_and_both_are_good(agent):
    agent.play("rotation")


def test_it_is_refused_in_words_that_it_reads(agent):
    agent.play("refusals")


def test_it_leaves_and_comes_back_with_a_password_that_works(arrive):
    """A factory reset: the uuid stays, the key is another one."""
    agent = arrive()
    before = {name: agent.known[name] for name in ("username", "password")}
    let_in(agent).close()
    agent.play("leaving")
    until(lambda: is_refused(agent), 20)
    agent.play("arrival", device_key=secrets.token_hex(32))

    let_in(agent).close()
    assert agent.known["password"] != before["password"]
    assert is_refused(agent, **before)


def is_refused(agent, **known):
    try:
        BrokerLink(agent, **known).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def test_a_job_reaches_it_over_the_broker_and_comes_back(agent, link):
    agent.play("mqtt_job")
    link.converse("mqtt_job")
    agent.play("mqtt_job", "after")


def test_what_it_reports_over_the_broker_is_its_state(agent, link):
    agent.know(number_of_this_run=7)
    link.converse("mqtt_state")

    eventually(lambda: agent.play("mqtt_state", "after"))


def test_its_readings_become_rows_one_of_each_register(installation, agent, link):
    agent.know()
    link.converse("mqtt_sensor")
    rows = until(lambda: latest(installation, agent.known["uuid"]), 15)

    assert {label: row["value"] for label, row in rows.items()} == {
        "modbus/plc-1/rpm": 1450.0,
        "modbus/plc-2/rpm": 980.0,
        "modbus/plc-1/torque": 11.25,
    }
    assert {row["timestamp"][:23] for row in rows.values()} == {agent.known["now"][:23]}


def test_another_devices_topics_are_closed_to_it(installation, agent, link):
    agent.know(number_of_this_run=8)
    neighbour = agent.known["neighbour"]
    link.subscribe(f"iot/device/{neighbour}/#")
    link.subscribe("#")
    with as_service(installation) as service:
        service.subscribe(f"iot/device/{neighbour}/#")
        service.subscribe("stat/#")
        service.subscribe(f"iot/device/{agent.known['uuid']}/state")
        link.converse("mqtt_foreign")
        link.converse("mqtt_state")
        service.publish(f"iot/device/{neighbour}/jobs/notify-next", {"execution": {"jobId": "secret"}})
        until(lambda: len(service.received) > 1, 10)
        link.settle()

        assert [topic for topic, _ in service.received] == [
            f"iot/device/{agent.known['uuid']}/state",
            f"iot/device/{neighbour}/jobs/notify-next",
        ]
    assert link.received == []
    agent.play("mqtt_foreign", "after")


@pytest.mark.parametrize("known", [{"password": "wrong"}, {"password": ""}])
def test_a_password_that_is_not_its_own_opens_nothing(agent, link, known):
    _ = link

    assert is_refused(agent, **known)
    assert is_refused(agent, username=f"device_{agent.known['neighbour']}")
