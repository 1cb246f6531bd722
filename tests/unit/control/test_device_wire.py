"""What devices send and are recognised by, without a database."""

import contextlib
import gzip
import stat
import zlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from iotistic.contracts.provisioning import envelope
from iotistic.contracts.provisioning.keys import write_key
from iotistic.control.devices.keys import check_strength, make_api_key
from iotistic.control.devices.model import DeviceKeyWeak
from iotistic.control.devices.wire import BodyInvalid, BodyTooLarge, unpacked
from iotistic.control.provisioning.attempts import _source
from iotistic.control.provisioning.envelope_keys import EnvelopeKeys, EnvelopeKeyUnusable, read_or_make_key
from iotistic.control.provisioning.model import EnvelopeKeyUnknown
from iotistic.control.states.model import TargetInvalid, checked, etags_in, make_target
from iotistic.kernel.errors import Invalid

KEY = x25519.X25519PrivateKey.generate()
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("", bytes), ("GZIP ", gzip.compress)],
)
def test_bodies_are_unpacked_up_to_a_limit(encoding, pack):
    assert unpacked(pack(b"x" * 100), encoding, most=100) == b"x" * 100
    with pytest.raises(BodyTooLarge):
        unpacked(pack(b"x" * 101), encoding, most=100)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@given(body=st.binary(max_size=50))
def test_a_body_that_is_not_packed_as_it_says_is_refused(encoding, body):
    with pytest.raises(BodyInvalid):
        unpacked(b"\x00" + body, encoding, most=100)


def test_a_made_key_is_strong_and_what_can_be_guessed_is_not():
    check_strength(make_api_key())
    for weak in ("", "a" * 64, "ab" * 31, "short", "é" * 40, "key with spaces in it, which is long enough"):
        with pytest.raises(DeviceKeyWeak):
            check_strength(weak)


def test_the_envelope_key_is_made_once_and_kept_from_others(tmp_path):
    path = tmp_path / "key"
    first, second = read_or_make_key(path), read_or_make_key(path)

    assert EnvelopeKeys(first).told == EnvelopeKeys(second).told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_of_another_kind_is_not_taken(tmp_path):
    path = tmp_path / "key"
    for content in ("no", write_key(ec.generate_private_key(ec.SECP256R1()))):
        path.write_text(content)
        with pytest.raises(EnvelopeKeyUnusable):
            read_or_make_key(path)


def test_envelopes_for_a_former_key_are_still_opened(tmp_path):
    former, current = rsa.generate_private_key(65537, 2048), read_or_make_key(tmp_path / "key")
    told = EnvelopeKeys(former).told
    key = envelope.read_cloud_key(told.public_key)
    sealed = envelope.seal({"uuid": UUID}, key, envelope.Addressed(told.key_id, UUID))

    assert EnvelopeKeys(current, [former]).open(sealed) == {"uuid": UUID}
    with pytest.raises(EnvelopeKeyUnknown):
        EnvelopeKeys(current).open(sealed)


@given(JSON)
def test_no_envelope_does_more_than_being_refused(document):
    keys = EnvelopeKeys(KEY)
    with pytest.raises(Invalid):
        keys.open(document)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_an_address_stands_for_a_customer(address, source):
    assert _source(address) == source


def test_etags_are_read_however_they_are_written():
    assert etags_in('W/"a", "b",c,, ') == ["a", "b", "c"]


@given(JSON, JSON)
def test_a_target_is_understood_or_refused(apps, config):
    content = {"apps": apps, "config": config}
    with contextlib.suppress(TargetInvalid):
        target = make_target(checked(content), version=1, at=datetime.now(UTC), by="test")

        assert make_target(target.content(), version=1, at=target.deployed_at, by="x").etag == target.etag
