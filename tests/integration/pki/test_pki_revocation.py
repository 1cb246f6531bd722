import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from cryptography import x509
from pki_builders import identity_files, serial_in

from iotistic.pki.identities import ensure_broker_certificate

MAC = "aa:bb:cc:dd:ee:01"


async def revoked_serials(client: httpx2.AsyncClient) -> set[int]:
    crl = x509.load_pem_x509_crl((await client.get("/crl.pem")).content)
    return {entry.serial_number for entry in crl}


async def test_a_revoked_certificate_is_on_the_list_at_once(authority, operator):
    issued = (await operator.post("/issue", json={"mac": MAC})).json()
    answer = await operator.post("/revoke", json={"mac": MAC, "reason": "key_compromise"})
    on_disk = x509.load_pem_x509_crl((authority.home.pki / "crl.pem").read_bytes())

    assert answer.json()["revoked"][0]["revoked_reason"] == "key_compromise"
    assert answer.json()["revoked"][0]["mac"] == MAC
    assert await revoked_serials(operator) == {serial_in(issued)}
    assert {entry.serial_number for entry in on_disk} == {serial_in(issued)}


async def test_a_list_is_valid_for_seven_days_and_its_number_grows(operator):
    first = x509.load_pem_x509_crl((await operator.get("/crl.pem")).content)
    await operator.post("/issue", json={"mac": MAC})
    await operator.post("/revoke", json={"mac": MAC})
    second = x509.load_pem_x509_crl((await operator.get("/crl.pem")).content)
    numbers = [
        crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in (first, second)
    ]

    assert timedelta(days=6) < first.next_update_utc - datetime.now(UTC) <= timedelta(days=7)
    assert numbers[0] < numbers[1]


async def test_revoking_by_serial_spares_other_certificates(operator):
    one = (await operator.post("/issue", json={"mac": MAC})).json()
    await operator.post("/issue", json={"mac": "aabbccddee02"})
    answer = await operator.post("/revoke", json={"serial": f"{serial_in(one):032x}"})
    left = await operator.get("/certificates", params={"kind": "device", "revoked": False})

    assert answer.status_code == 200
    assert [row["mac"] for row in left.json()["items"]] == ["aa:bb:cc:dd:ee:02"]


@pytest.mark.parametrize("named", [{"mac": MAC}, {"serial": "00"}, {"mac": MAC, "serial": "ab"}])
async def test_what_is_unknown_cannot_be_revoked(operator, named):
    answer = await operator.post("/revoke", json=named)

    assert (answer.status_code, answer.json()["code"]) == (404, "pki.certificate_unknown")


async def test_the_authority_itself_cannot_be_revoked(operator):
    ca = (await operator.get("/certificates", params={"kind": "ca"})).json()["items"][0]
    answer = await operator.post("/revoke", json={"serial": ca["serial"]})

    assert answer.status_code == 404


async def test_a_revoked_device_enrols_again_without_replace(operator):
    await operator.post("/issue", json={"mac": MAC})
    await operator.post("/revoke", json={"mac": MAC})
    again = await operator.post("/issue", json={"mac": MAC})

    assert again.status_code == 200


async def test_certificates_are_paged_by_expiry_without_loss(operator):
    for n in range(5):
        await operator.post("/issue", json={"mac": f"aabbccddee{n:02x}", "key_type": "ec-p256"})
    seen, cursor = [], None
    for _ in range(3):
        page = (
            await operator.get(
                "/certificates", params={"kind": "device", "limit": 2} | ({"after": cursor} if cursor else {})
            )
        ).json()
        seen += [row["mac"] for row in page["items"]]
        cursor = page["next"]

    assert sorted(seen) == [f"aa:bb:cc:dd:ee:{n:02x}" for n in range(5)]
    assert cursor is None


@pytest.mark.parametrize(("days", "found"), [(364, 0), (366, 1)])
async def test_certificates_that_expire_soon_are_found(operator, days, found):
    await operator.post("/issue", json={"mac": MAC})
    answer = await operator.get("/certificates", params={"expiring_within_days": days, "kind": "device"})

    assert len(answer.json()["items"]) == found
    assert "PRIVATE" not in answer.text


async def test_our_servers_certificates_are_listed_too(authority, operator):
    ensure_broker_certificate(authority.home, authority.settings)
    kinds: set[str] = set()
    async with asyncio.timeout(10):
        while len(kinds) < 3:
            await asyncio.sleep(0.1)
            kinds = {row["kind"] for row in (await operator.get("/certificates")).json()["items"]}

    assert kinds == {"ca", "server", "broker"}


async def test_a_revoked_device_is_put_off_within_two_seconds_and_stays_out(authority_with_broker, tmp_path):
    authority, broker_port = authority_with_broker
    operator = await authority.client("iot_operator-token-of-the-tests")
    identity = identity_files((await operator.post("/issue", json={"mac": MAC})).json(), tmp_path)
    context = ssl.create_default_context(cafile=authority.home.ca_certificate)
    context.load_cert_chain(*identity)
    connected = await mqtt_connect(context, broker_port)
    started = asyncio.get_running_loop().time()
    answer = (await operator.post("/revoke", json={"mac": MAC})).json()
    rest = await asyncio.wait_for(connected[0].read(), 5)
    took_s = asyncio.get_running_loop().time() - started
    connected[1].close()
    with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
        await mqtt_connect(context, broker_port)

    assert answer["broker_enforced"] is True
    assert took_s < 2
    assert rest == b"" or rest[0] >> 4 == 14


async def mqtt_connect(context: ssl.SSLContext, port: int):
    """Connect as an MQTT 3.1.1 client without a client id; return the streams after the CONNACK."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
    connack = await asyncio.wait_for(reader.readexactly(4), 5)
    assert connack[0] == 0x20
    assert connack[3] == 0
    return reader, writer
