"""Certificates of agents: signed for the control plane, by HTTPS, for nobody else."""

from datetime import UTC, datetime
from uuid import uuid4

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from iotistic.contracts.provisioning.keys import write_public
from iotistic.entrypoints.control.authority import (
    AuthorityAway,
    AuthorityFileMissing,
    PkiCertifier,
    certifier,
)
from iotistic.entrypoints.control.settings import ControlSettings
from iotistic.kernel.home import Home

NOW = datetime.now(UTC)
OPERATOR = "iot_operator-token-of-the-tests"
UUID_OF_ONE = "0b2f5c1e-7d36-4a8c-9a54-6f1f2f3f4f5f"


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def signer(authority, token=OPERATOR, port=None):
    url = f"https://127.0.0.1:{port or authority.port}"
    return PkiCertifier(url, authority.home.ca_certificate.read_text(), SecretStr(token))


async def test_a_key_is_certified_for_its_uuid_and_no_other_name(authority, key):
    uuid = str(uuid4())

    signed = await signer(authority).sign(uuid, key, NOW)

    certificate = x509.load_pem_x509_certificate(signed.pem.encode())
    assert certificate.subject.rfc4514_string() == f"CN={uuid}"
    assert certificate.public_key() == key
    ca = x509.load_pem_x509_certificate(authority.home.ca_certificate.read_bytes())
    certificate.verify_directly_issued_by(ca)


@pytest.mark.parametrize("token", ["", "wrong", "iot_operator-token-of-the-testz"])
async def test_without_the_operators_token_nothing_is_signed(authority, key, token):
    with pytest.raises(AuthorityAway):
        await signer(authority, token or "none").sign(str(uuid4()), key, NOW)


async def test_an_enrolment_token_is_not_enough(authority, key):
    _, token = await authority.enrol_token(label="line 4", expires_in_hours=1)

    with pytest.raises(AuthorityAway):
        await signer(authority, token).sign(str(uuid4()), key, NOW)


async def test_an_authority_that_is_away_is_told_with_a_time_to_retry(authority, key, unused_tcp_port):
    with pytest.raises(AuthorityAway) as caught:
        await signer(authority, port=unused_tcp_port).sign(str(uuid4()), key, NOW)

    assert caught.value.retry_after_s


async def test_another_authority_is_not_believed(authority, key, tmp_path):
    other = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "IoT_CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(other.public_key())
    fake = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW.replace(year=NOW.year + 1))

    pem = fake.sign(other, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    stranger = PkiCertifier(f"https://127.0.0.1:{authority.port}", pem, SecretStr(OPERATOR))

    with pytest.raises(AuthorityAway):
        await stranger.sign(str(uuid4()), key, NOW)


@pytest.mark.parametrize(
    ("uuid", "body", "status"),
    [
        ("no-uuid", {"public_key": "x"}, 422),
        (UUID_OF_ONE, {"public_key": "garbage"}, 400),
        (UUID_OF_ONE, {"public_key": "x" * 5000}, 422),
        (UUID_OF_ONE, {}, 422),
        (UUID_OF_ONE, {"public_key": "x", "more": 1}, 422),
    ],
)
async def test_garbage_is_refused(operator: httpx2.AsyncClient, uuid, body, status):
    answer = await operator.post(f"/agents/{uuid}/certificate", json=body)

    assert answer.status_code in (status, 400)
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_a_public_key_is_written_as_the_authority_reads_it(key):
    assert write_public(key).startswith("-----BEGIN PUBLIC KEY-----")


def test_a_file_that_is_missing_is_named(tmp_path):

    names = (
        "alert_signing_secret",
        "broker_auth_token",
        "broker_secret",
        "jwt_secret",
        "provisioning_secret",
    )
    secrets = dict.fromkeys((*names, "registry_secret"), "secret " * 8)
    settings = ControlSettings(pki_url="https://pki:8080", pki_ca_file=tmp_path / "none", **secrets)
    with pytest.raises(AuthorityFileMissing, match="none"):
        certifier(Home(tmp_path), settings, SecretStr("x"))
