"""What crosses the wire while a device becomes known: both shapes of answers, and every fault by name."""

import contextlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.contracts.provisioning import answers, keys, requests, rotation
from iotistic.contracts.provisioning.fields import ProvisioningInvalid

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "1f8fad5b-d9cb-469f-a165-70867728950e"

V2 = {
    "device": {"deviceId": 7, "uuid": UUID, "deviceName": "gate"},
    "mqtt": {
        "brokerUrl": "mqtts://b.example:8883",
        "username": "u",
        "password": "p",
        "brokerConfig": {"port": 8883},
    },
    "api": {
        "endpoint": "https://c.example/api/v1/",
        "deviceApiKey": "k" * 40,
        "tlsConfig": {"caCert": "PEM\nPEM"},
    },
    "vpn": {"enabled": False},
    "challenge": "c" * 43,
    "expiresAt": "2026-01-31T12:00:00Z",
}
DEPLOYED = {
    "id": 7,
    "uuid": UUID,
    "deviceName": "gate",
    "deviceType": "gateway",
    "fleetId": "f1",
    "createdAt": "2026-01-31T12:00:00Z",
    "mqtt": {
        "username": f"device_{UUID}",
        "password": "p",
        "broker": "mqtt://b.example:1883",
        "topics": {"publish": [], "subscribe": []},
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
READERS = {
    "cloud key": answers.read_cloud_key,
    "register answer": lambda document: answers.read_register_answer(document, UUID),
    "challenge": answers.read_challenge_answer,
    "key exchange answer": answers.read_key_exchange_answer,
    "register": requests.read_register,
    "key exchange": requests.read_key_exchange,
    "rotated": rotation.read_rotated,
    "key status": rotation.read_key_status,
}


def changed(document, path, value):
    """Return a copy with something else at a path."""
    copy = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    inner = copy
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return copy


def test_the_answer_of_v2_is_read():
    answer = answers.read_register_answer(V2, UUID)

    assert (answer.device_id, answer.device_name) == ("7", "gate")
    assert answer.mqtt == answers.MqttAccess("mqtts://b.example:8883", "u", "p", {"port": 8883})
    assert (answer.api_endpoint, answer.device_api_key) == ("https://c.example/api/v1", "k" * 40)
    assert answer.api_tls_config == {"caCert": "PEM\nPEM"}
    assert answer.challenge == keys.Challenge("c" * 43, 1769860800.0)


def test_the_answer_that_deployed_devices_get_is_read():
    answer = answers.read_register_answer(DEPLOYED, UUID)

    assert (answer.device_id, answer.device_type, answer.fleet_id) == ("7", "gateway", "f1")
    assert answer.mqtt.broker_url == "mqtt://b.example:1883"
    assert answer.mqtt.topics == {"publish": [], "subscribe": []}
    assert answer.challenge is None


def test_a_broker_without_url_is_put_together_from_its_configuration():
    config = {"protocol": "mqtts", "host": "b.example", "port": 8883}
    mqtt = {"username": "u", "password": "p", "brokerConfig": config}
    assert (
        answers.read_register_answer({**DEPLOYED, "mqtt": mqtt}, UUID).mqtt.broker_url
        == "mqtts://b.example:8883"
    )


def test_an_answer_that_was_written_is_read_as_it_was():
    answer = answers.read_register_answer(V2, UUID)
    assert answers.read_register_answer(answer.write(), UUID) == answer


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("device.uuid", OTHER, "device.uuid is"),
        ("device.uuid", None, "device.uuid is missing"),
        ("device.uuid", "gate", "device.uuid is not a UUID"),
        ("device.deviceName", ["a"], "device.deviceName is a list, not a text"),
        ("device.deviceName", "a\nb", "device.deviceName has characters"),
        ("device.deviceName", "x" * 256, "device.deviceName has 256 characters"),
        ("device", 5, "device is a number, not an object"),
        ("mqtt", True, "mqtt is a truth value, not an object"),
        ("mqtt.password", "", "mqtt.password is missing"),
        ("mqtt.brokerUrl", "http://b.example", "mqtt.brokerUrl is not a URL"),
        ("mqtt.brokerUrl", "mqtt://b.example:99999", "mqtt.brokerUrl is not a URL"),
        ("mqtt.brokerConfig", "x", "mqtt.brokerConfig is a text, not an object"),
        ("api.endpoint", "file:///etc/passwd", "api.endpoint is not a URL"),
        ("api.tlsConfig", [], "api.tlsConfig is a list, not an object"),
        ("api.tlsConfig.caCert", 5.5, "api.tlsConfig.caCert is a number, not a text"),
        ("expiresAt", "soon", "expiresAt is not a time"),
        ("challenge", {}, "challenge is an object, not a text"),
        ("vpn", "on", "vpn is a text, not an object"),
    ],
)
def test_every_fault_of_an_answer_is_named(path, value, fault):
    with pytest.raises(ProvisioningInvalid) as raised:
        answers.read_register_answer(changed(V2, path, value), UUID)
    assert [one for one in raised.value.fields["faults"] if one.startswith(fault)] != []


def test_all_faults_are_named_at_once():
    with pytest.raises(ProvisioningInvalid) as raised:
        answers.read_register_answer({"device": {}, "mqtt": {}}, UUID)
    assert len(raised.value.fields["faults"]) >= 5


@pytest.mark.parametrize("name", READERS)
@given(document=JSON)
@settings(max_examples=60, deadline=None)
def test_garbage_gives_our_error_or_a_value(name, document):
    with contextlib.suppress(ProvisioningInvalid):
        READERS[name](document)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_an_answer_with_anything_anywhere_gives_our_error_or_a_value(data):
    whole = data.draw(st.sampled_from([V2, DEPLOYED]))
    tops = [*whole, *(f"{one}.{two}" for one in whole if isinstance(whole[one], dict) for two in whole[one])]
    document = changed(
        whole, data.draw(st.sampled_from(tops)), data.draw(st.none() | st.integers() | st.text())
    )
    with contextlib.suppress(ProvisioningInvalid):
        answers.read_register_answer(document, UUID)


@given(payload=st.binary() | st.text().map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150, deadline=None)
def test_a_notice_of_garbage_gives_our_error_or_no_key(payload):
    with contextlib.suppress(ProvisioningInvalid):
        rotation.read_notice(payload)


def test_a_notice_holds_a_key_or_asks_for_one():
    assert rotation.read_notice(b"") is None
    assert rotation.read_notice(b'{"action": "rotate"}') is None
    assert rotation.read_notice(b'{"new_api_key": "%s"}' % (b"n" * 40)).api_key == "n" * 40


def test_a_rotated_key_that_was_written_is_read_as_it_was():
    rotated = rotation.RotatedKey("n" * 64, 1_800_000_000.0, 1_790_000_000.0)
    assert rotation.read_rotated(rotated.write()) == rotated


def test_the_end_of_a_key_is_the_earlier_one():
    document = {"data": {"expires_at": "2026-05-01T00:00:00Z", "old_key_valid_until": "2026-02-01T00:00:00Z"}}
    assert rotation.read_key_status(document) == 1769904000.0


def test_a_request_that_was_written_is_read_as_it_was():
    request = requests.RegisterRequest(
        UUID,
        "gate",
        "gateway",
        "k" * 40,
        "p" * 64,
        keys.make_csr(keys.make_key(), UUID),
        proof=keys.Proof("c", "s"),
    )
    assert requests.read_register(request.write()) == request


def test_a_deployed_device_shows_its_provisioning_key_as_bearer():
    document = {"uuid": UUID, "deviceName": "gate", "deviceType": "gateway", "deviceApiKey": "k" * 40}
    assert requests.read_register(document, bearer="p" * 64).provisioning_key == "p" * 64
    with pytest.raises(ProvisioningInvalid, match="provisioningKey is missing"):
        requests.read_register(document)


def test_secrets_are_not_in_what_is_printed():
    request = requests.RegisterRequest(UUID, "gate", "gateway", "secret-1", "secret-2")
    answer = answers.read_register_answer(changed(V2, "mqtt.password", "secret-3"), UUID)
    assert "secret" not in f"{request} {answer} {rotation.RotatedKey('secret-4', None, None)}"
    assert "k" * 40 not in str(answer)


@pytest.mark.parametrize(
    "kind", [keys.make_key, lambda: keys.write_key(ed25519.Ed25519PrivateKey.generate())]
)
def test_a_proof_is_good_for_one_device_one_challenge_and_one_key(kind):
    private = kind()
    public = keys.read_csr(keys.make_csr(private, UUID))
    proof = keys.prove(private, UUID, "challenge")

    keys.check_proof(public, UUID, proof)
    for uuid, wrong in (
        (OTHER, proof),
        (UUID, keys.Proof("another", proof.signature)),
        (UUID, keys.prove(kind(), UUID, "challenge")),
        (UUID, keys.Proof("challenge", "")),
        (UUID, keys.Proof("challenge", "é")),
        (UUID, keys.Proof("challenge", proof.signature[:-4])),
    ):
        with pytest.raises(keys.ProofInvalid):
            keys.check_proof(public, uuid, wrong)


def test_a_signing_request_has_to_be_signed_by_its_own_key():
    pem = keys.make_csr(keys.make_key(), UUID)
    other = x509.load_pem_x509_csr(keys.make_csr(keys.make_key(), UUID).encode())
    assert keys.read_csr(pem) != other.public_key()
    for wrong in ("", "no request", pem[:200], "x" * 20_000):
        with pytest.raises(keys.KeyInvalid):
            keys.read_csr(wrong)


def test_keys_that_are_not_accepted_are_refused():
    p384 = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([])
    pem = (
        x509.CertificateSigningRequestBuilder(name)
        .sign(p384, hashes.SHA384())
        .public_bytes(keys.serialization.Encoding.PEM)
    )
    with pytest.raises(keys.KeyInvalid):
        keys.read_csr(pem.decode())
    with pytest.raises(keys.KeyInvalid):
        keys.read_key(keys.write_key(p384))


def test_challenges_are_never_the_same():
    assert len({keys.make_challenge(0.0).text for _ in range(100)}) == 100
