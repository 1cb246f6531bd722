import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iotistic.contracts.mac import Mac
from iotistic.pki.ca import CertificateAuthority, device_profile, serial_of, server_profile
from iotistic.pki.csr import make_key
from iotistic.pki.model import AuthorityUnusable, Certificate, CertificateKind, Reason

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
MAC = Mac("aabbccddee01")


def authority(*, days: int = 3650) -> CertificateAuthority:
    return CertificateAuthority.create(make_key(), common_name="IoT_CA", days=days, now=NOW)


def issued(ca: CertificateAuthority, *, days: int = 365) -> x509.Certificate:
    return ca.issue(device_profile(MAC), make_key().public_key(), days=days, now=NOW)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


def test_the_authority_can_sign_and_nothing_below_it_can():
    ca = authority()

    assert extension(ca.certificate, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=0)
    assert extension(ca.certificate, x509.KeyUsage).key_cert_sign
    assert extension(issued(ca), x509.BasicConstraints).ca is False
    assert extension(issued(ca), x509.KeyUsage).key_cert_sign is False


def test_a_device_is_named_by_its_mac_and_may_only_be_a_client():
    certificate = issued(authority())
    names = extension(certificate, x509.SubjectAlternativeName)

    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "aabbccddee01"
    assert names.get_values_for_type(x509.DNSName) == ["aabbccddee01"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:dev:mac:aabbccfffeddee01"]
    assert list(extension(certificate, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_certificate_starts_five_minutes_ago_and_lasts_as_told():
    certificate = issued(authority(), days=365)

    assert certificate.not_valid_before_utc == NOW - dt.timedelta(minutes=5)
    assert certificate.not_valid_after_utc == NOW + dt.timedelta(days=365)


def test_no_certificate_outlives_the_authority():
    ca = authority(days=10)

    assert issued(ca).not_valid_after_utc == ca.certificate.not_valid_after_utc


def test_an_expired_authority_says_so():
    ca = authority(days=10)

    with pytest.raises(AuthorityUnusable, match="expired"):
        ca.issue(device_profile(MAC), make_key().public_key(), days=1, now=NOW + dt.timedelta(days=11))


def test_serials_are_128_bits_and_never_twice():
    ca = authority()
    serials = {issued(ca).serial_number for _ in range(50)}

    assert len(serials) == 50
    assert {serial.bit_length() for serial in serials} == {128}


def test_a_server_is_named_by_hosts_and_addresses():
    profile = server_profile("mqtt-broker", ["localhost", "127.0.0.1", "::1"])
    names = extension(
        authority().issue(profile, make_key().public_key(), days=1, now=NOW), x509.SubjectAlternativeName
    )

    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]


def revoked(certificate: x509.Certificate, reason: Reason) -> Certificate:
    return Certificate(
        serial=serial_of(certificate),
        kind=CertificateKind.DEVICE,
        mac=MAC,
        pem="",
        not_before=NOW,
        not_after=NOW,
        issued_at=NOW,
        issued_by="operator",
        revoked_at=NOW,
        revoked_reason=reason,
    )


@pytest.mark.parametrize("reason", Reason)
def test_a_revocation_list_names_the_serial_and_lasts_seven_days(reason):
    ca = authority()
    certificate = issued(ca)
    crl = x509.load_pem_x509_crl(ca.sign_crl([revoked(certificate, reason)], number=7, now=NOW))

    assert crl.is_signature_valid(ca.certificate.public_key())
    assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    assert crl.next_update_utc == NOW + dt.timedelta(days=7)
    assert extension(crl, x509.CRLNumber).crl_number == 7


def test_a_key_and_a_foreign_certificate_do_not_make_an_authority():
    with pytest.raises(AuthorityUnusable, match="does not belong"):
        CertificateAuthority(make_key(), authority().certificate)


def test_a_leaf_certificate_does_not_make_an_authority():
    key = make_key()
    leaf = authority().issue(device_profile(MAC), key.public_key(), days=1, now=NOW)

    with pytest.raises(AuthorityUnusable, match="not that of a certificate authority"):
        CertificateAuthority(key, leaf)


def test_an_authority_knows_its_own_certificates():
    ca = authority()

    assert ca.has_signed(issued(ca))
    assert not ca.has_signed(issued(authority()))


@pytest.mark.parametrize(
    ("key", "enciphers"),
    [(rsa.generate_private_key(65537, 2048), True), (ec.generate_private_key(ec.SECP384R1()), False)],
)
def test_the_usage_of_a_key_fits_its_type(key, enciphers):
    certificate = authority().issue(device_profile(MAC), key.public_key(), days=1, now=NOW)

    assert extension(certificate, x509.KeyUsage).key_encipherment is enciphers
