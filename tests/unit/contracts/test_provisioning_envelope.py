"""What only the cloud can open."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from iotistic.contracts.provisioning import envelope
from iotistic.contracts.provisioning.envelope import (
    Addressed,
    EnvelopeInvalid,
    open_envelope,
    read_cloud_key,
    seal,
)
from iotistic.contracts.provisioning.fields import ProvisioningInvalid

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "1f8fad5b-d9cb-469f-a165-70867728950e"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
X25519 = x25519.X25519PrivateKey.generate()
KEYS = [RSA, X25519]
IDS = ["rsa", "x25519"]
ENCODED = ["wrapped", "iv", "ciphertext"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

keys = pytest.mark.parametrize("key", KEYS, ids=IDS)


def pem(key):
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def sealed(key, message=None, key_id="k1", uuid=UUID):
    return seal({"uuid": uuid, **(message or {})}, read_cloud_key(pem(key)), Addressed(key_id, uuid))


@keys
@given(message=st.dictionaries(st.text().filter(lambda name: name != "uuid"), JSON, max_size=5))
@settings(max_examples=30, deadline=None)
def test_what_was_sealed_comes_out_again(key, message):
    assert open_envelope(sealed(key, message), key) == {"uuid": UUID, **message}


@keys
def test_a_registration_of_any_size_fits(key):
    message = {"csr": "x" * 20_000}
    assert open_envelope(sealed(key, message), key)["csr"] == message["csr"]


@keys
def test_two_envelopes_of_one_message_have_nothing_in_common(key):
    one, other = sealed(key), sealed(key)
    assert [one[name] for name in ENCODED if one[name] == other[name]] == []


@keys
@pytest.mark.parametrize("name", ENCODED)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_changed_bit_is_noticed(key, name, data):
    whole = sealed(key)
    value = bytearray(base64.b64decode(whole[name]))
    index = data.draw(st.integers(0, len(value) * 8 - 1))
    value[index // 8] ^= 1 << index % 8
    with pytest.raises(EnvelopeInvalid):
        open_envelope({**whole, name: base64.b64encode(value).decode()}, key)


@keys
@pytest.mark.parametrize("name", ENCODED)
@given(length=st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_every_missing_or_added_byte_is_noticed(key, name, length):
    whole = sealed(key)
    value = base64.b64decode(whole[name])
    for changed in (value[: min(length, len(value) - 1)], value + b"\0", value[1:]):
        with pytest.raises(ProvisioningInvalid):
            open_envelope({**whole, name: base64.b64encode(changed).decode()}, key)


@keys
@given(index=st.integers(0, 10_000), character=st.characters(min_codepoint=32, max_codepoint=126))
@settings(max_examples=100, deadline=None)
def test_an_envelope_has_one_spelling(key, index, character):
    whole = sealed(key)
    for name in ENCODED:
        text = whole[name]
        at = index % len(text)
        assume(character != text[at])
        with pytest.raises(EnvelopeInvalid):
            open_envelope({**whole, name: text[:at] + character + text[at + 1 :]}, key)


@keys
def test_an_envelope_cannot_be_passed_off_as_another_devices(key):
    with pytest.raises(EnvelopeInvalid):
        open_envelope({**sealed(key), "uuid": OTHER}, key)


@keys
def test_an_envelope_cannot_be_passed_off_as_one_for_another_key_id(key):
    with pytest.raises(EnvelopeInvalid):
        open_envelope({**sealed(key), "keyId": "k2"}, key)


@keys
def test_parts_of_two_envelopes_do_not_make_one(key):
    one, other = sealed(key), sealed(key)
    for name in ENCODED:
        with pytest.raises(EnvelopeInvalid):
            open_envelope({**one, name: other[name]}, key)


def test_another_key_opens_nothing():
    for key, wrong in (
        (RSA, OTHER_RSA),
        (X25519, x25519.X25519PrivateKey.generate()),
        (RSA, X25519),
        (X25519, RSA),
    ):
        with pytest.raises(EnvelopeInvalid):
            open_envelope(sealed(key), wrong)


@keys
@given(document=JSON | st.fixed_dictionaries(dict.fromkeys(("keyId", "uuid", "alg", *ENCODED), JSON)))
@settings(max_examples=80, deadline=None)
def test_garbage_is_refused_with_our_error(key, document):
    with pytest.raises(ProvisioningInvalid):
        open_envelope(document, key)


def test_what_is_inside_has_to_name_the_same_device():
    wrong = seal({"uuid": OTHER}, read_cloud_key(pem(X25519)), Addressed("k1", UUID))
    with pytest.raises(EnvelopeInvalid, match="another device"):
        open_envelope(wrong, X25519)


def test_a_bare_payload_that_fits_is_opened():
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)
    bare = base64.b64encode(RSA.public_key().encrypt(b'{"uuid": "%s"}' % UUID.encode(), oaep)).decode()
    assert open_envelope({"keyId": "k1", "encryptedPayload": bare}, RSA) == {"uuid": UUID}


def test_a_point_that_gives_everybody_the_same_secret_is_refused():
    nothing = x25519.X25519PublicKey.from_public_bytes(bytes(32))
    with pytest.raises(EnvelopeInvalid):
        seal({"uuid": UUID}, nothing, Addressed("k1", UUID))
    with pytest.raises(EnvelopeInvalid):
        open_envelope({**sealed(X25519), "wrapped": base64.b64encode(bytes(32)).decode()}, X25519)


@pytest.mark.parametrize(
    "text",
    ["", "no key", pem(ec.generate_private_key(ec.SECP256R1())), pem(rsa.generate_private_key(65537, 1024))],
    ids=["empty", "garbage", "p256", "rsa-1024"],
)
def test_a_cloud_key_that_is_none_or_too_weak_gets_no_secrets(text):
    with pytest.raises(EnvelopeInvalid):
        read_cloud_key(text)


def test_the_way_of_wrapping_is_told_by_the_key():
    assert [sealed(key)["alg"] for key in KEYS] == list(envelope.Wrapping)
