"""The certificate that takes the place of another: what is taken, and what is not."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts.provisioning.certificates import (
    CertificateUnfit,
    NextCertificate,
    read_certificate_request,
    read_next_certificate,
)
from iotistic.contracts.provisioning.fields import ProvisioningInvalid
from iotistic.contracts.provisioning.fitting import check_fits, join_authorities, read_term
from iotistic.contracts.provisioning.keys import make_key, read_key

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
KEY, OTHER_KEY = make_key(), make_key()
BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400
NOW = BEGINS.timestamp() + DAY_S


def certificate(*, cn=UUID, alternative="", days=90):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)] if cn else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(read_key(KEY).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINS)
        .not_valid_after(BEGINS + timedelta(days=days))
    )
    if alternative:
        names = x509.SubjectAlternativeName([x509.DNSName(alternative)])
        builder = builder.add_extension(names, critical=not cn)
    made = builder.sign(read_key(OTHER_KEY), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "names", [{}, {"cn": UUID.upper()}, {"cn": f"device_{UUID}"}, {"cn": "", "alternative": UUID}]
)
def test_a_certificate_for_this_device_and_key_is_taken(names):
    term = check_fits(certificate(**names) + certificate(cn="authority"), KEY, UUID, NOW)

    assert (term.begins_at, term.life_s) == (BEGINS.timestamp(), 90 * DAY_S)


@pytest.mark.parametrize(
    ("key", "now", "names"),
    [
        (OTHER_KEY, NOW, {}),
        (KEY, NOW + 90 * DAY_S, {}),
        (KEY, NOW, {"cn": "11111111-2222-4333-8444-555555555555"}),
        (KEY, NOW, {"cn": ""}),
        (KEY, NOW, {"cn": UUID[:-1], "alternative": f"x.{UUID}"}),
    ],
)
def test_a_certificate_for_another_key_device_or_time_is_not(key, now, names):
    with pytest.raises(CertificateUnfit):
        check_fits(certificate(**names), key, UUID, now)


def test_authorities_are_joined_and_those_that_ended_are_left_out():
    new, ended, known = certificate(cn="new"), certificate(cn="ended", days=1), certificate(cn="known")

    assert join_authorities(new, known + ended + new, NOW + 1) == new + known
    assert join_authorities(new, "rubbish", NOW) == new


@given(
    st.text() | st.text().map(lambda text: f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----")
)
def test_what_is_no_certificate_is_refused_in_so_many_words(text):
    with pytest.raises(CertificateUnfit):
        read_term(text)
    with pytest.raises(CertificateUnfit):
        join_authorities(text, "", NOW)
    with pytest.raises(ProvisioningInvalid):
        check_fits(text, KEY, UUID, NOW)


def test_what_is_written_is_read():
    for shape in (NextCertificate("one\ntwo", "three"), NextCertificate("one")):
        assert read_next_certificate(shape.write()) == shape


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["certificate", "caCert", "csr"]), inner)
        ),
    )
)
def test_any_other_document_is_refused_or_read(document):
    for read in (read_next_certificate, read_certificate_request):
        with contextlib.suppress(ProvisioningInvalid):
            assert read(document)
