import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from iotistic.kernel.mosquitto.put_off import SESSION_LIFE_S, PutOffClients
from iotistic.kernel.mosquitto.revocations import MOST_LISTS, RevocationFolder, issuer_hash

KEY = ec.generate_private_key(ec.SECP256R1())
COUNTRY, ORGANIZATION, NAME = NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME


def crl(*attributes: tuple[x509.ObjectIdentifier, str]) -> bytes:
    now = dt.datetime.now(dt.UTC)
    issuer = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(now)
    signed = builder.next_update(now + dt.timedelta(days=1)).sign(KEY, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


# The hashes are those that `openssl crl -hash -noout` prints.
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ([(NAME, "Test CA")], "3387b84d"),
        ([(NAME, "Iotistic CA")], "7af1f102"),
        ([(COUNTRY, "DE"), (ORGANIZATION, "  Two   spaces & Ünïcode "), (NAME, "ÄÖ ca")], "ea373075"),
        ([(NAME, "x" * 64), (ORGANIZATION, "y" * 64), (NameOID.LOCALITY_NAME, "z" * 128)], "d96f0ddc"),
        ([], "eea339da"),
    ],
)
def test_a_list_is_named_after_its_issuer_as_openssl_does(attributes, expected):
    assert issuer_hash(crl(*attributes)) == expected


def test_what_is_no_list_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="PEM"):
        RevocationFolder(tmp_path, owner=None).add(b"garbage")

    assert list(tmp_path.iterdir()) == []


def test_lists_are_numbered_without_a_gap_from_the_start_on(tmp_path):
    folder = RevocationFolder(tmp_path / "revoked", owner=None)
    folder.clear()
    lists = [crl((NAME, "Test CA")) for _ in range(3)]
    for pem in lists:
        folder.add(pem)

    assert [(tmp_path / "revoked" / f"3387b84d.r{n}").read_bytes() for n in range(3)] == lists
    folder.clear()
    folder.add(lists[0])
    assert [file.name for file in (tmp_path / "revoked").iterdir()] == ["3387b84d.r0"]


def test_before_the_first_start_of_a_broker_there_is_no_folder_to_fill(tmp_path):
    RevocationFolder(tmp_path / "revoked", owner=None).add(crl((NAME, "Test CA")))

    assert not (tmp_path / "revoked").exists()


def test_a_folder_with_many_lists_is_full(tmp_path):
    folder = RevocationFolder(tmp_path, owner=None)
    folder.add(crl((NAME, "Test CA")))
    assert not folder.full

    (tmp_path / f"3387b84d.r{MOST_LISTS}").touch()
    assert folder.full


def test_a_client_is_put_off_for_as_long_as_its_session_lives(tmp_path, monkeypatch):
    written, read = (PutOffClients(tmp_path / "put-off.json", owner=None) for _ in range(2))
    written.add(["a"])
    written.add(["b"])
    assert "a" in read
    assert "b" in read
    assert "c" not in read

    later = (tmp_path / "put-off.json").stat().st_mtime + SESSION_LIFE_S + 1
    monkeypatch.setattr("time.time", lambda: later)
    assert "a" not in read


def test_a_start_forgets_who_was_put_off(tmp_path):
    clients = PutOffClients(tmp_path / "put-off.json", owner=None)
    clients.add(["a"])
    clients.clear()

    assert "a" not in clients
    clients.clear()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff", b'{"b": 1'])
def test_a_damaged_file_of_clients_is_an_empty_one_and_written_anew(tmp_path, content):
    path = tmp_path / "put-off.json"
    path.write_bytes(content)
    clients = PutOffClients(path, owner=None)

    assert "a" not in clients
    clients.add(["a"])
    assert "a" in clients
