import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.contracts.mac import Mac
from iotistic.pki.csr import KeyType, check_csr, make_csr, make_key
from iotistic.pki.model import CsrInvalid, KeyTooWeak

GOOD = make_csr(make_key(), Mac("aabbccddee01"))


def request_of(key, algorithm=None) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whoever")])
    request = x509.CertificateSigningRequestBuilder(name).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("key_type", KeyType)
def test_keys_that_we_make_are_accepted(key_type):
    key = make_key(key_type)

    assert check_csr(make_csr(key, Mac("aabbccddee01"))) == key.public_key()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
        (ed25519.Ed25519PrivateKey.generate(), None),
        (rsa.generate_private_key(65537, 3072), hashes.SHA256()),
    ],
)
def test_other_strong_keys_are_accepted(key, algorithm):
    assert check_csr(request_of(key, algorithm)) == key.public_key()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 1024), hashes.SHA256()),
        (rsa.generate_private_key(3, 2048), hashes.SHA256()),
        (ec.generate_private_key(ec.SECP224R1()), hashes.SHA256()),
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256()),
        (dsa.generate_private_key(2048), hashes.SHA256()),
        (ed448.Ed448PrivateKey.generate(), None),
    ],
)
def test_weak_and_unusual_keys_are_refused(key, algorithm):
    with pytest.raises(KeyTooWeak):
        check_csr(request_of(key, algorithm))


def test_a_request_that_its_key_did_not_sign_is_refused():
    mine, theirs = (x509.load_pem_x509_csr(make_csr(make_key(), Mac("aabbccddee01")).encode()) for _ in "ab")
    der = mine.public_bytes(serialization.Encoding.DER)
    theirs_point = theirs.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    my_point = mine.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    forged = x509.load_der_x509_csr(der.replace(my_point, theirs_point))

    with pytest.raises(CsrInvalid, match="not signed"):
        check_csr(forged.public_bytes(serialization.Encoding.PEM).decode())


@pytest.mark.parametrize(
    "text",
    ["", "x", GOOD[:-100], GOOD.replace("CERTIFICATE REQUEST", "CERTIFICATE"), "\0", "-----BEGIN", "\ud800"],
)
def test_what_is_no_request_is_refused(text):
    with pytest.raises(CsrInvalid):
        check_csr(text)


def test_a_request_of_an_unknown_version_is_refused():
    der = x509.load_pem_x509_csr(GOOD.encode()).public_bytes(serialization.Encoding.DER)
    version_14 = der.replace(b"\x02\x01\x00", b"\x02\x01\x0d", 1)
    pem = base64.encodebytes(version_14).decode()

    with pytest.raises(CsrInvalid):
        check_csr(f"-----BEGIN CERTIFICATE REQUEST-----\n{pem}-----END CERTIFICATE REQUEST-----\n")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.characters(codec="utf-8"))
def test_a_damaged_request_is_refused_or_still_whole(position, character):
    damaged = GOOD[:position] + character + GOOD[position + 1 :]
    try:
        outcome = check_csr(damaged)
    except CsrInvalid:
        outcome = None

    assert outcome is None or outcome.key_size == 256
