import asyncio
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pki_builders import csr_of, identity_files, serial_in

from iotistic.pki.ca import CertificateAuthority, device_profile
from iotistic.pki.csr import key_pem, make_key

MAC = "aa:bb:cc:dd:ee:01"


async def test_issue_answers_as_the_contract_says(operator, authority):
    answer = await operator.post("/issue", json={"mac": "AA-BB-CC-DD-EE-01"})
    body = answer.json()
    certificate = x509.load_pem_x509_certificate(body["client_cert"].encode())
    key = serialization.load_pem_private_key(body["private_key"].encode(), None)

    assert answer.status_code == 200
    assert set(body) == {"mac", "client_cert", "private_key", "ca_cert", "expires_at"}
    assert body["mac"] == MAC
    assert certificate.subject.rfc4514_string() == "CN=aabbccddee01"
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key() == certificate.public_key()
    assert body["ca_cert"] == authority.home.ca_certificate.read_text()
    assert body["expires_at"].endswith("Z")
    life = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=364) < life <= timedelta(days=365)


@pytest.mark.parametrize(
    "mac",
    [
        "",
        "aa:bb",
        "aa:bb:cc:dd:ee:0g",
        "aabb-ccdd-ee01",
        "ff:ff:ff:ff:ff:ff",
        "aa:bb:cc:dd:ee:01\n",
        "\u0660" * 12,
        "\0" * 12,
    ],
)
async def test_a_bad_mac_is_refused_and_named(operator, mac):
    answer = await operator.post("/issue", json={"mac": mac})

    assert (answer.status_code, answer.json()["code"]) == (400, "mac.invalid")


async def test_a_taken_mac_is_refused_and_no_key_is_handed_out(operator):
    await operator.post("/issue", json={"mac": MAC})
    again = await operator.post("/issue", json={"mac": "aabbccddee01"})

    assert (again.status_code, again.json()["code"]) == (409, "pki.certificate_exists")
    assert "PRIVATE KEY" not in again.text


async def test_the_operator_replaces_and_the_old_certificate_is_revoked(operator):
    first = (await operator.post("/issue", json={"mac": MAC})).json()
    second = await operator.post("/issue", json={"mac": MAC, "replace": True})
    crl = x509.load_pem_x509_crl((await operator.get("/crl.pem")).content)

    assert second.status_code == 200
    assert second.json()["private_key"] != first["private_key"]
    assert crl.get_revoked_certificate_by_serial_number(serial_in(first)) is not None
    assert crl.get_revoked_certificate_by_serial_number(serial_in(second.json())) is None


async def test_an_enrolment_token_replaces_only_what_it_issued_itself(authority, operator):
    _, token = await authority.enrol_token()
    enroller = await authority.client(token)
    await operator.post("/issue", json={"mac": MAC})
    foreign = await enroller.post("/issue", json={"mac": MAC, "replace": True})
    await enroller.post("/issue", json={"mac": "aabbccddee02"})
    own = await enroller.post("/issue", json={"mac": "aabbccddee02", "replace": True})

    assert (foreign.status_code, foreign.json()["code"]) == (403, "pki.replacement_denied")
    assert own.status_code == 200


async def test_an_enrolment_token_cannot_replace_its_own_after_a_quarter_of_an_hour(authority, connection):
    _, token = await authority.enrol_token()
    enroller = await authority.client(token)
    await enroller.post("/issue", json={"mac": MAC})
    await connection.execute("UPDATE certificates SET issued_at = issued_at - interval '16 minutes'")
    late = await enroller.post("/issue", json={"mac": MAC, "replace": True})

    assert late.status_code == 403


async def test_a_csr_gets_names_of_our_making(operator):
    answer = await operator.post("/csr", json={"mac": MAC, "csr": csr_of(make_key(), "cn=someone-else")})
    certificate = x509.load_pem_x509_certificate(answer.json()["client_cert"].encode())

    assert answer.status_code == 200
    assert certificate.subject.rfc4514_string() == "CN=aabbccddee01"
    assert b"someone-else" not in certificate.public_bytes(serialization.Encoding.DER)


async def test_the_same_csr_again_gets_the_same_certificate_and_takes_no_use(authority):
    _, token = await authority.enrol_token(max_uses=1)
    enroller = await authority.client(token)
    csr = csr_of(make_key())
    first, second = [await enroller.post("/csr", json={"mac": MAC, "csr": csr}) for _ in "ab"]
    other = await enroller.post("/csr", json={"mac": MAC, "csr": csr_of(make_key())})

    assert first.json() == second.json()
    assert other.status_code == 409


async def test_of_two_issues_for_one_mac_at_once_one_wins(operator, connection):
    answers = await asyncio.gather(
        *(operator.post("/issue", json={"mac": MAC, "key_type": "ec-p256"}) for _ in range(6))
    )
    valid = await connection.fetchval("SELECT count(*) FROM certificates WHERE mac IS NOT NULL")

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    assert valid == 1


async def test_the_uses_of_a_token_are_counted_exactly_under_a_race(authority, connection):
    token_id, token = await authority.enrol_token(max_uses=3)
    enroller = await authority.client(token)
    answers = await asyncio.gather(
        *(
            enroller.post("/issue", json={"mac": f"aabbccddee{n:02x}", "key_type": "ec-p256"})
            for n in range(8)
        )
    )
    uses = await connection.fetchval("SELECT uses FROM enrolment_tokens WHERE id = $1", token_id)
    issued = await connection.fetchval("SELECT count(*) FROM certificates WHERE mac IS NOT NULL")

    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [403] * 5
    assert {answer.json()["code"] for answer in answers[:] if answer.status_code == 403} == {
        "pki.token_used_up"
    }
    assert (uses, issued) == (3, 3)


async def test_a_revoked_or_expired_token_is_no_longer_accepted(authority, operator, connection):
    revoked_id, revoked = await authority.enrol_token()
    expired_id, expired = await authority.enrol_token()
    await operator.delete(f"/tokens/{revoked_id}")
    await connection.execute("UPDATE enrolment_tokens SET expires_at = now() WHERE id = $1", expired_id)
    clients = [await authority.client(token) for token in (revoked, expired)]
    answers = [await client.post("/issue", json={"mac": MAC}) for client in clients]

    assert [answer.status_code for answer in answers] == [401, 401]


async def test_no_secret_is_stored(authority, operator, connection):
    _, token = await authority.enrol_token()
    issued = (await operator.post("/issue", json={"mac": MAC})).json()
    stored = await connection.fetch("SELECT certificates::text AS row FROM certificates")
    stored += await connection.fetch("SELECT enrolment_tokens::text AS row FROM enrolment_tokens")
    text = "".join(row["row"] for row in stored)

    assert "PRIVATE KEY" not in text
    assert token not in text
    assert issued["private_key"][100:140] not in text


async def test_a_device_renews_with_its_old_certificate_right_after_enrolment(authority, operator, tmp_path):
    identity = identity_files((await operator.post("/issue", json={"mac": MAC})).json(), tmp_path)
    device = await authority.client(identity=identity)
    key = make_key()
    renewed = await device.post("/renew", json={"csr": csr_of(key)})
    certificate = x509.load_pem_x509_certificate(renewed.json()["client_cert"].encode())
    repeated = await device.post("/renew", json={"csr": csr_of(key)})
    hasty = await device.post("/renew", json={"csr": csr_of(make_key())})

    assert renewed.status_code == 200
    assert certificate.subject.rfc4514_string() == "CN=aabbccddee01"
    assert certificate.public_key() == key.public_key()
    assert repeated.json() == renewed.json()
    assert (hasty.status_code, hasty.json()["code"]) == (429, "pki.renewed_too_soon")
    assert "ask again in" in hasty.json()["hint"]


async def test_at_most_two_certificates_of_a_device_are_valid(authority, operator, connection, tmp_path):
    identity = identity_files((await operator.post("/issue", json={"mac": MAC})).json(), tmp_path)
    device = await authority.client(identity=identity)
    for _ in range(3):
        await connection.execute("UPDATE certificates SET issued_at = issued_at - interval '2 minutes'")
        (await device.post("/renew", json={"csr": csr_of(make_key())})).raise_for_status()
    valid = await connection.fetchval(
        "SELECT count(*) FROM certificates WHERE mac IS NOT NULL AND revoked_at IS NULL"
    )

    assert valid == 2


async def test_a_revoked_certificate_renews_nothing(authority, operator, tmp_path):
    identity = identity_files((await operator.post("/issue", json={"mac": MAC})).json(), tmp_path)
    await operator.post("/revoke", json={"mac": MAC})
    device = await authority.client(identity=identity)
    answer = await device.post("/renew", json={"csr": csr_of(make_key())})

    assert (answer.status_code, answer.json()["code"]) == (403, "pki.certificate_refused")


async def test_a_certificate_of_a_server_renews_nothing(authority):
    identity = authority.home.pki / "server.crt", authority.home.pki / "server.key"
    device = await authority.client(identity=identity)

    with pytest.raises(httpx2.TransportError):
        await device.post("/renew", json={"csr": csr_of(make_key())})


async def test_a_certificate_of_a_foreign_authority_renews_nothing(authority, tmp_path):
    foreign = CertificateAuthority.create(make_key(), common_name="IoT_CA", days=9, now=datetime.now(UTC))
    key = make_key()
    certificate = foreign.issue(
        device_profile("aabbccddee01"), key.public_key(), days=1, now=datetime.now(UTC)
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    identity = identity_files({"client_cert": pem, "private_key": key_pem(key)}, tmp_path)
    device = await authority.client(identity=identity)

    with pytest.raises(httpx2.TransportError):
        await device.post("/renew", json={"csr": csr_of(make_key())})
