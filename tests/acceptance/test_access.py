"""Who is refused, at which door, and what the log says about it."""

import contextlib
import re
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fault_tools import site, until
from outside_tools import (
    FREE_PORTS,
    V5,
    V311,
    Identity,
    as_device,
    as_service,
    ask,
    colons,
    enrolled,
    fresh_mac,
    latest,
    log_events,
    openssl,
    pki,
    signing_request,
    stamp,
)

DISCONNECTED_WITHIN_S = 2.0
PLACES = {
    "device": "1",
    "id": "1",
    "connector": "1",
    "pin": "1",
    "template_id": "1",
    "token_id": "0" * 12,
    "uuid": "0b2f5c1e-7d36-4a8c-9a54-6f1f2f3f4f5f",
}
OURS = {"api": "/api/v1/telemetry/", "pki": "/"}
"""The routes tried here. The control plane's, with their devices, doors and roles, have a table of their own."""
OPEN = {  # everything else needs a credential
    "api": {("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics")},
    "pki": {
        *(("get", path) for path in ("/health", "/health/live", "/health/ready", "/ca.pem", "/crl.pem")),
    },
}
BY_CERTIFICATE = ("post", "/renew")
SIREN = ("alarm-mode", "J2", "siren-1", "stat")


@pytest.fixture(scope="module")
def running():
    with site(**FREE_PORTS, BROKER_DEBUG_LINES="true") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("identities")


@pytest.fixture(scope="module")
def device(running, folder):
    return enrolled(running, folder)


def routes(running, server):
    answer = ask(running.ready[server], "/openapi.json", ca=running.ready["ca"])
    paths = {
        path: methods for path, methods in answer.json()["paths"].items() if path.startswith(OURS[server])
    }
    return {(method, path) for path, methods in paths.items() for method in methods}


def asked(running, server, routes, sources, token=None):
    """Ask every route, each from an address of its own, as wrong tokens are counted by address."""
    return {
        (method, path): ask(
            running.ready[server], re.sub(r"{(\w+)}", lambda name: PLACES[name[1]], path), method.upper(),
            body={}, token=token, ca=running.ready["ca"], source=f"{sources}.{number}",
        )
        for number, (method, path) in enumerate(sorted(routes), start=1)
    }  # fmt: skip


@pytest.mark.parametrize("server", ["api", "pki"])
def test_no_route_answers_without_a_token(running, server):
    answers = asked(running, server, routes(running, server) - OPEN[server], "127.0.1")
    refusals = {route: (answer.status, answer.json()["code"]) for route, answer in answers.items()}
    assert refusals.pop(BY_CERTIFICATE, (403, "pki.certificate_refused")) == (403, "pki.certificate_refused")

    assert len(refusals) >= 8
    assert set(refusals.values()) == {(401, "auth.credential_required")}
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}


@pytest.mark.parametrize("server", ["api", "pki"])
@pytest.mark.parametrize("token", ["iot_wrong", "Basic aW90aXN0aWM6eA==", "Bearer ", "Bearer \xff"])
def test_no_route_answers_to_a_wrong_token(running, server, token):
    protected = routes(running, server) - OPEN[server] - {BY_CERTIFICATE}
    answers = asked(running, server, protected, f"127.0.{2 + len(token)}", token)

    assert {answer.status for answer in answers.values()} == {401}


@pytest.mark.parametrize("server", ["api", "pki"])
def test_a_token_in_the_address_or_a_cookie_opens_nothing(running, server):
    token = running.ready["token"]
    path = {"api": "/api/v1/telemetry/stats", "pki": "/certificates"}[server]
    tried = [ask(running.ready[server], f"{path}?{name}={token}", ca=running.ready["ca"])
             for name in ("token", "access_token", "api_key")]  # fmt: skip

    assert {answer.status for answer in tried} == {401}


def test_an_open_route_gives_no_secret(running):
    paths = ("/health", "/health/ready", "/ca.pem", "/crl.pem", "/openapi.json")
    told = b"".join(ask(running.ready["pki"], path, ca=running.ready["ca"]).body for path in paths)

    assert b"PRIVATE" not in told
    assert running.ready["token"].encode() not in told


def test_guessing_is_slowed_down_and_the_operator_elsewhere_is_not(running):
    path = "/api/v1/telemetry/stats"
    tries = [
        ask(running.ready["api"], path, token=f"iot_{number}", source="127.0.99.1") for number in range(25)
    ]
    right = ask(running.ready["api"], path, token=running.ready["token"])

    assert tries[0].status == 401
    assert tries[-1].status == 429
    assert int(tries[-1].headers["retry-after"]) > 0
    assert right.status == 200


def test_an_enrolment_token_enrols_and_does_nothing_else(running):
    made = pki(running, "POST", "/tokens", {"label": "line 3", "max_uses": 1}).json()["token"]
    first = pki(running, "POST", "/issue", {"mac": fresh_mac()}, token=made)
    second = pki(running, "POST", "/issue", {"mac": fresh_mac()}, token=made)
    as_operator = [pki(running, "GET", path, token=made).status for path in ("/certificates", "/tokens")]

    assert first.status == 200
    assert second.status in {401, 403, 409}
    assert set(as_operator) <= {401, 403}
    assert ask(running.ready["api"], "/api/v1/telemetry/stats", token=made).status == 401


def test_a_mac_that_is_taken_gives_nobody_its_key(running, device):
    made = pki(running, "POST", "/tokens", {}).json()["token"]
    refused = [
        pki(running, "POST", "/issue", {"mac": device.mac}),
        pki(running, "POST", "/issue", {"mac": device.mac, "replace": True}, token=made),
    ]

    assert [answer.status for answer in refused] == [409, 403]
    assert all(b"PRIVATE" not in answer.body for answer in refused)


@pytest.mark.parametrize("family", ["tele", "stat"])
@pytest.mark.parametrize("version", [V311, V5], ids=["mqtt-3.1.1", "mqtt-5"])
def test_a_device_on_another_s_topic_is_refused_and_the_log_names_the_rule(running, device, version, family):
    other = fresh_mac()
    topic = f"{family}/f2-{other}/alarm-mode/J2/siren-1"
    with as_device(running, device, version=version) as wire:
        reason = wire.publish(topic, {"status": True, "timestamp": stamp()})
        wire.publish(device.topic(*SIREN), {"status": True, "timestamp": stamp()})

    denied = until(lambda: [e for e in log_events(running, "broker.acl_denied") if e["topic"] == topic], 5)
    until(lambda: latest(running, device.mac), 5)
    assert latest(running, other) == {}
    assert {event["client"] for event in denied} == {device.mac}
    assert f"pattern write {family}/f2-%u/#" in denied[0]["rule"]
    assert reason.is_failure == (version == V5)


@pytest.mark.parametrize(
    "topic", ["cmnd/f2-{}/alarm-mode/J2/siren-1", "sensor/x/y", "$SYS/x", "tele/f2-{}x/a"]
)
def test_a_device_writes_nothing_but_its_own_telemetry(running, device, topic):
    with as_device(running, device, version=V5) as wire:
        reason = wire.publish(topic.format(device.mac), {"value": 1})

    assert reason.is_failure


def test_a_device_hears_its_own_commands_and_no_others(running, device):
    other = fresh_mac()
    with as_device(running, device) as wire, as_service(running) as service:
        for topic_filter in ("#", "cmnd/#", f"cmnd/f2-{other}/#", f"cmnd/f2-{device.mac}/#", "$SYS/#"):
            wire.subscribe(topic_filter)
        for mac in (other, device.mac):
            service.publish(f"cmnd/f2-{mac}/alarm-mode/J2/siren-1", b"1")
            service.publish(f"tele/f2-{mac}/alarm-mode/J2/motion-sensor-1", {"status": True})
        service.publish(f"cmnd/f2-{device.mac}/alarm-mode/J2/siren-2", b"0")
        until(lambda: wire.received and wire.received[-1][0].endswith("siren-2"), 5)

    assert {topic for topic, _ in wire.received} == {
        f"cmnd/f2-{device.mac}/alarm-mode/J2/siren-{number}" for number in (1, 2)
    }
    assert until(lambda: [e for e in log_events(running, "broker.acl_denied") if e["access"] == "read"], 5)


def test_a_device_cannot_push_another_off_by_taking_its_name(running, device, folder):
    with as_device(running, device) as victim:
        with as_device(running, enrolled(running, folder), client_id=device.mac) as thief:
            reason = thief.publish(device.topic(*SIREN), {"status": True})
        still = victim.publish(device.topic(*SIREN), {"status": False, "timestamp": stamp()})
        pushed_off = victim.disconnected.is_set()

    assert reason.is_failure
    assert not still.is_failure
    assert not pushed_off


@pytest.fixture(scope="module")
def revoked(running, folder):
    identity = enrolled(running, folder)
    assert pki(running, "POST", "/revoke", {"mac": identity.mac}).status == 200
    return identity


@pytest.fixture(scope="module")
def expired(running, folder):
    """Signed by the right authority, for yesterday."""
    mac = fresh_mac()
    key, _ = signing_request(folder, mac, f"/CN={mac}")
    authority = running.home / "pki"
    openssl(
        "x509", "-req", "-in", folder / f"{mac}.csr", "-out", folder / f"{mac}.crt", "-days", "-1",
        "-CA", authority / "ca.crt", "-CAkey", authority / "ca.key",
        "-passin", f"file:{running.home / 'secrets' / 'ca-passphrase'}",
    )  # fmt: skip
    return Identity(mac, folder / f"{mac}.crt", key)


@pytest.fixture(scope="module")
def foreign(folder, device):
    """The right name, signed by somebody else."""
    key, certificate = folder / "foreign.key", folder / "foreign.crt"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
            "-subj", f"/CN={device.mac}", "-days", "2")  # fmt: skip
    return Identity(device.mac, certificate, key)


@pytest.fixture(scope="module")
def without():
    return None


@pytest.mark.parametrize(
    ("who", "alert", "reason"),
    [
        ("without", "certificate required", "certificate_missing"),
        ("revoked", "certificate revoked", "certificate_rejected"),
        ("expired", "certificate expired", "certificate_rejected"),
        ("foreign", "unknown ca", "certificate_rejected"),
    ],
)
def test_a_certificate_that_is_not_good_is_refused_and_device_and_log_hear_why(
    request, running, who, alert, reason
):
    identity = request.getfixturevalue(who)
    before = len(log_events(running, "broker.client_refused"))
    shown = ("-cert", identity.certificate, "-key", identity.key) if identity else ()
    to = urlsplit(running.ready["mqtt"]).netloc
    said = openssl(
        "s_client", "-connect", to, "-CAfile", running.ready["ca"], *shown, "-ign_eof", check=False
    )
    published = mosquitto_pub(running, identity)

    refused = until(lambda: log_events(running, "broker.client_refused")[before:][1:], 5)
    assert alert in said
    assert published != 0
    assert {event["reason"] for event in refused} == {reason}


def mosquitto_pub(running, identity):
    """Publish with the client that everybody has; return its exit code."""
    to = urlsplit(running.ready["mqtt"])
    shown = ("--cert", identity.certificate, "--key", identity.key) if identity else ()
    command = [
        "mosquitto_pub",
        "-h",
        to.hostname,
        "-p",
        str(to.port),
        "--cafile",
        running.ready["ca"],
        *shown,
    ]
    command += ["-q", "1", "-t", f"tele/f2-{identity.mac if identity else 0}/x", "-m", "{}"]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode


def listening_ports(pid):
    """Ports on which a process listens, as the kernel knows them."""
    held = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [
        row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    return {
        (row[1].split(":")[0], int(row[1].split(":")[1], 16))
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in held
    }


@pytest.mark.parametrize(
    "login", [(), ("-u", "iotistic", "-P", "wrong"), ("-u", "iotistic"), ("-u", "", "-P", "")]
)
def test_no_listener_of_the_broker_lets_in_the_anonymous_or_a_wrong_password(running, login):
    listeners = listening_ports(running.children()["broker"][0])
    before = len(log_events(running, "broker.client_refused"))
    codes = [
        subprocess.run(
            ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), *login, "-t", "sensor/x/y", "-m", "1"],
            capture_output=True, timeout=20, check=False,
        ).returncode
        for _, port in listeners
    ]  # fmt: skip

    until(lambda: len(log_events(running, "broker.client_refused")) >= before + 3, 5)
    assert len(listeners) == 3  # certificates, passwords, our services
    assert {address for address, _ in listeners} == {"0100007F"}
    assert 0 not in codes
    reasons = {event["reason"] for event in log_events(running, "broker.client_refused")[before:]}
    assert reasons == {"tls_expected", "bad_credentials"}


def test_everything_listens_on_this_machine_only(running):
    found = {
        address for pids in running.children().values() for pid in pids for address, _ in listening_ports(pid)
    }

    assert found == {"0100007F"}


def test_a_password_beside_a_certificate_gives_a_device_no_more(running, device):
    password = (running.home / "secrets" / "mqtt-service-password").read_text().strip()
    with as_device(running, device, login=("iotistic", password)) as wire:
        reason = wire.publish("sensor/x/y", {"value": 1})

    assert reason.is_failure


@pytest.mark.parametrize("version", [V311, V5], ids=["mqtt-3.1.1", "mqtt-5"])
def test_a_revoked_device_is_disconnected_within_two_seconds_and_others_stay(
    running, device, folder, version
):
    identity = enrolled(running, folder)
    with as_device(running, device) as other, as_device(running, identity, version=version) as wire:
        wire.publish(identity.topic(*SIREN), {"status": True})
        asked_at = time.monotonic()
        done = pki(running, "POST", "/revoke", {"mac": colons(identity.mac), "reason": "key_compromise"})
        assert wire.disconnected.wait(10)
        wire.client.loop_stop()
        stayed = other.client.is_connected()

    assert done.json()["broker_enforced"] is True
    assert wire.disconnected_at - asked_at < DISCONNECTED_WITHIN_S
    assert stayed
    assert mosquitto_pub(running, identity) != 0


def test_a_revoked_device_cannot_renew_and_is_listed(running, folder, revoked):
    _, request = signing_request(folder, "again", "/CN=x")
    refused = pki(running, "POST", "/renew", {"csr": request}, token="", identity=revoked.files)
    listed = pki(running, "GET", f"/certificates?mac={revoked.mac}").json()["items"]
    revocations = folder / "crl.pem"
    revocations.write_bytes(pki(running, "GET", "/crl.pem").body)
    shown = openssl("crl", "-in", revocations, "-noout", "-text").upper()

    assert refused.status == 403
    assert [item["revoked_at"] is not None for item in listed] == [True]
    assert listed[0]["serial"].upper() in shown


def test_a_packet_of_garbage_disturbs_nobody(running, device):
    to = urlsplit(running.ready["mqtt"])
    with as_device(running, device) as wire:
        for rubbish in (b"GET / HTTP/1.1\r\n\r\n", bytes(300), b"\xff" * 4096):
            with contextlib.suppress(OSError), socket.create_connection((to.hostname, to.port), 5) as sock:
                sock.sendall(rubbish)
                sock.recv(100)
        reason = wire.publish(device.topic(*SIREN), {"status": True, "timestamp": stamp()})

    assert not reason.is_failure
    until(lambda: latest(running, device.mac), 5)
