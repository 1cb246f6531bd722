import shutil
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from iotistic.kernel.home import Home
from iotistic.pki.identities import ensure_broker_certificate
from iotistic.pki.keystore import open_authority
from iotistic.pki.model import AuthorityUnusable
from iotistic.pki.settings import AuthoritySettings


@pytest.fixture
def home(tmp_path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_of(identity) -> set[str]:
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def test_the_first_run_makes_the_authority_and_later_runs_keep_it(home):
    first = open_authority(home, AuthoritySettings())
    second = open_authority(home, AuthoritySettings(ca_cn="Other"))

    assert first.pem == second.pem == home.ca_certificate.read_text()
    assert "CN=IoT_CA" in first.certificate.subject.rfc4514_string()


def test_the_key_is_private_and_useless_without_its_passphrase(home):
    open_authority(home, AuthoritySettings())
    key = home.pki / "ca.key"

    assert mode(key) == mode(home.secrets / "ca-passphrase") == 0o600
    with pytest.raises(TypeError, match="encrypted"):
        serialization.load_pem_private_key(key.read_bytes(), None)


@pytest.mark.parametrize("damage", ["wrong\n", ""])
def test_a_wrong_passphrase_is_a_clear_error(home, damage):
    open_authority(home, AuthoritySettings())
    (home.secrets / "ca-passphrase").write_text(damage)

    with pytest.raises(AuthorityUnusable, match=r"ca\.key"):
        open_authority(home, AuthoritySettings())


def test_a_lost_passphrase_is_a_clear_error_and_makes_no_new_authority(home):
    first = open_authority(home, AuthoritySettings())
    (home.secrets / "ca-passphrase").unlink()

    with pytest.raises(AuthorityUnusable, match="ca-passphrase"):
        open_authority(home, AuthoritySettings())
    assert home.ca_certificate.read_text() == first.pem


def test_a_lost_key_makes_no_new_authority(home):
    open_authority(home, AuthoritySettings())
    (home.pki / "ca.key").unlink()

    with pytest.raises(AuthorityUnusable, match=r"without ca\.key"):
        open_authority(home, AuthoritySettings())


def test_a_first_run_that_was_cut_short_after_the_key_goes_on_with_it(home):
    first = open_authority(home, AuthoritySettings())
    home.ca_certificate.unlink()
    second = open_authority(home, AuthoritySettings())

    assert second.certificate.public_key() == first.certificate.public_key()


def test_processes_that_start_at_once_make_one_authority(home):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: open_authority(home, AuthoritySettings()).pem, range(8)))

    assert len(set(made)) == 1


def test_an_existing_authority_is_taken_over(home, tmp_path):
    other = Home(tmp_path / "other")
    other.create()
    existing = open_authority(other, AuthoritySettings(ca_cn="Factory CA"))
    taken = open_authority(
        home,
        AuthoritySettings(
            ca_key=other.pki / "ca.key",
            ca_cert=other.ca_certificate,
            ca_passphrase=(other.secrets / "ca-passphrase").read_text().strip(),
        ),
    )

    assert taken.pem == existing.pem == home.ca_certificate.read_text()
    assert not (home.pki / "ca.key").exists()


@pytest.mark.parametrize("given", [{"ca_key": "/nowhere.key"}, {"ca_key": "/n.key", "ca_cert": "/n.crt"}])
def test_half_an_authority_is_a_clear_error(home, given):
    with pytest.raises(AuthorityUnusable):
        open_authority(home, AuthoritySettings(**given))


def test_the_broker_certificate_carries_every_name_and_is_kept(home):
    settings = AuthoritySettings(mqtt_broker_host="broker.example.com")
    first = ensure_broker_certificate(home, settings, listen_addresses=["192.0.2.1", "0.0.0.0"])
    second = ensure_broker_certificate(home, settings, listen_addresses=["192.0.2.1"])

    assert (first.renewed, second.renewed) == (True, False)
    assert mode(first.key) == 0o600
    assert names_of(first) >= {
        "localhost",
        "127.0.0.1",
        "::1",
        "mqtt-broker",
        "192.0.2.1",
        "broker.example.com",
    }
    assert "0.0.0.0" not in names_of(first)


@pytest.mark.parametrize(("days", "renewed"), [(29, True), (32, False)])
def test_the_broker_certificate_is_renewed_when_under_30_days_are_left(home, days, renewed):
    ensure_broker_certificate(home, AuthoritySettings(broker_expiry=days))

    assert ensure_broker_certificate(home, AuthoritySettings()).renewed is renewed


def test_the_broker_certificate_of_another_authority_is_replaced(home):
    ensure_broker_certificate(home, AuthoritySettings())
    (home.pki / "ca.key").unlink()
    home.ca_certificate.unlink()

    assert ensure_broker_certificate(home, AuthoritySettings()).renewed


@pytest.mark.parametrize("file", ["broker.crt", "broker.key"])
@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_broker_certificate_or_key_is_replaced(home, file, content):
    ensure_broker_certificate(home, AuthoritySettings())
    (home.pki / file).write_bytes(content)

    assert ensure_broker_certificate(home, AuthoritySettings()).renewed


def test_a_key_and_certificate_of_two_renewals_do_not_fit(home):
    identity = ensure_broker_certificate(home, AuthoritySettings())
    shutil.copy(identity.certificate, home.path / "old.crt")
    identity.certificate.unlink()
    ensure_broker_certificate(home, AuthoritySettings())
    shutil.copy(home.path / "old.crt", identity.certificate)

    assert ensure_broker_certificate(home, AuthoritySettings()).renewed
