import asyncio
from datetime import UTC, datetime

import pytest
from cryptography import x509
from pki_builders import poll

from iotistic.contracts.mac import Mac
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.web.auth import Principal
from iotistic.pki.ca import CertificateAuthority
from iotistic.pki.csr import KeyType, make_key
from iotistic.pki.model import Reason
from iotistic.pki.revocation import RevocationList
from iotistic.pki.service import CertificateService, utc_now

OPERATOR = Principal("operator", frozenset({"operate", "enrol"}))


class Gate:
    """A broker that does not answer `failures` times, and remembers what it was told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.lists: list[set[int]] = []
        self.left: set[str] = set()

    async def apply_crl(self, pem: bytes) -> bool:
        await asyncio.sleep(0)
        if self.failures > 0:
            self.failures -= 1
            raise Unavailable("no answer")
        self.lists.append({entry.serial_number for entry in x509.load_pem_x509_crl(pem)})
        return True

    async def disconnect(self, client_ids) -> int:
        self.left |= set(client_ids)
        return len(self.left)


@pytest.fixture
def made_with(pool, tmp_path):
    def make(gate: Gate | None) -> tuple[CertificateService, RevocationList]:
        ca = CertificateAuthority.create(make_key(), common_name="CA", days=30, now=datetime.now(UTC))
        revocations = RevocationList(pool, ca, gate, path=tmp_path / "crl.pem", clock=utc_now, retry_s=0.05)
        return CertificateService(pool, ca, revocations, device_days=10), revocations

    return make


async def issued(service: CertificateService, number: int) -> Mac:
    mac = Mac(f"aabbccdde{number:03x}")
    await service.issue(mac, caller=OPERATOR, replace=False, key_type=KeyType.EC_P256)
    return mac


async def test_what_the_broker_did_not_hear_is_told_again_until_it_answers(made_with):
    gate = Gate(failures=3)
    service, revocations = made_with(gate)
    mac = await issued(service, 1)
    done = await service.revoke(mac=mac, serial=None, reason=Reason.UNSPECIFIED)
    task = asyncio.create_task(revocations.keep_fresh())
    await poll(lambda: mac in gate.left)
    task.cancel()

    assert done.broker_enforced is False
    assert gate.lists[-1] == {int(done.certificates[0].serial, 16)}


async def test_many_revocations_at_once_share_lists_and_none_is_left_out(made_with):
    gate = Gate()
    service, _ = made_with(gate)
    macs = [await issued(service, number) for number in range(20)]
    done = await asyncio.gather(
        *(service.revoke(mac=mac, serial=None, reason=Reason.UNSPECIFIED) for mac in macs)
    )

    assert all(one.broker_enforced for one in done)
    assert gate.lists[-1] == {int(one.certificates[0].serial, 16) for one in done}
    assert gate.left == set(macs)
    assert len(gate.lists) <= 12


async def test_a_broker_that_is_not_ours_is_not_said_to_be_told(made_with, tmp_path):
    service, _ = made_with(None)
    mac = await issued(service, 1)
    done = await service.revoke(mac=mac, serial=None, reason=Reason.UNSPECIFIED)

    assert done.broker_enforced is False
    assert len(x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes())) == 1


async def test_an_expired_certificate_needs_no_naming(made_with, connection):
    gate = Gate()
    service, revocations = made_with(gate)
    mac = await issued(service, 1)
    await service.revoke(mac=mac, serial=None, reason=Reason.UNSPECIFIED)
    await connection.execute("UPDATE certificates SET not_after = now() - interval '1 second'")
    await revocations.publish()

    assert gate.lists[-1] == set()
    assert await service.locked_out() == []


async def test_a_device_whose_certificates_are_all_revoked_is_locked_out(made_with):
    service, _ = made_with(Gate())
    out, back = await issued(service, 1), await issued(service, 2)
    await service.revoke(mac=out, serial=None, reason=Reason.UNSPECIFIED)
    await service.revoke(mac=back, serial=None, reason=Reason.UNSPECIFIED)
    await issued(service, 2)

    assert await service.locked_out() == [out]


async def test_lists_made_in_one_second_bear_later_ones_even_after_a_restart(made_with):
    times = []
    for _ in range(2):
        _service, revocations = made_with(Gate())
        for _ in range(3):
            await revocations.publish()
            times.append(x509.load_pem_x509_crl(revocations.pem).last_update_utc)

    assert times == sorted(set(times))
