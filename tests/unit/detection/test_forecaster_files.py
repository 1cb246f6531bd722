"""A forecaster as a file: what was signed is loaded, whatever else comes is refused with a code."""

import io
import json
import zipfile

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detection.forecast_builders import KEY, made_file, made_weights

from iotistic.detection.forecaster import (
    MOST_BYTES,
    Forecaster,
    ForecasterRefused,
    FormatUnknown,
    SignatureWrong,
    about,
    pack,
    signed,
)

TRUSTED = KEY.public_key()


def members(file: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(content: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in content.items():
            archive.writestr(name, member)
    return file.getvalue()


def as_array(content: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.frombuffer(json.dumps(content).encode(), dtype=np.uint8))
    return file.getvalue()


def with_header(**changes: object) -> bytes:
    file = made_file()
    fields = {name: value for name, value in about(file).items() if name != "signed"}
    return zipped(members(file) | {"header.npy": as_array(fields | changes)})


def test_what_was_signed_is_loaded_as_it_was():
    loaded = Forecaster.load(made_file(seed=4), TRUSTED)

    assert np.array_equal(loaded.weights.kernel, made_weights().kernel)
    assert np.array_equal(loaded.weights.output, made_weights().output)
    assert loaded.about["seed"] == 4
    assert loaded.stream().expected is None


def test_the_same_weights_are_the_same_file():
    assert made_file() == made_file()


@pytest.mark.parametrize("name", ["elliptic", "rsa"])
def test_keys_that_a_certificate_authority_may_have_are_known(name):
    keys = {
        "elliptic": ec.generate_private_key(ec.SECP256R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
    }
    hows = {
        "elliptic": (ec.ECDSA(hashes.SHA256()),),
        "rsa": (padding.PKCS1v15(), hashes.SHA256()),
    }
    file = pack(made_weights(), {}, lambda content: keys[name].sign(content, *hows[name]))

    assert Forecaster.load(file, keys[name].public_key()).weights.units == 5


def test_a_file_is_signed_later():
    file = pack(made_weights(), {}, None)
    with pytest.raises(SignatureWrong, match="not signed"):
        Forecaster.load(file, TRUSTED)

    assert not about(file)["signed"]
    assert Forecaster.load(signed(file, KEY.sign), TRUSTED).weights.units == 5


def test_a_file_signed_by_somebody_else_is_refused():
    with pytest.raises(SignatureWrong) as refused:
        Forecaster.load(made_file(), Ed25519PrivateKey.generate().public_key())

    assert refused.value.code == "forecast.signature_invalid"


def test_other_weights_under_the_same_signature_are_refused():
    other = members(pack(made_weights(seed=9), {}, KEY.sign))
    with pytest.raises(SignatureWrong):
        Forecaster.load(zipped(members(made_file()) | {"kernel.npy": other["kernel.npy"]}), TRUSTED)


@pytest.mark.parametrize("changes", [{"spread_gain": 0.5}, {"seed": 5}, {"arrays": {}}])
def test_another_header_under_the_same_signature_is_refused(changes):
    with pytest.raises(SignatureWrong):
        Forecaster.load(with_header(**changes), TRUSTED)


@pytest.mark.parametrize("format_", [0, 2, "1", None])
def test_a_format_of_another_release_is_refused_by_its_code(format_):
    with pytest.raises(FormatUnknown) as refused:
        Forecaster.load(with_header(format=format_), TRUSTED)

    assert refused.value.code == "forecast.format_unknown"


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"PK\x03\x04 and nothing more",
        bytes(MOST_BYTES + 1),
        zipped({}),
        zipped({"header.npy": as_array([1])}),
        zipped(members(made_file()) | {"more.npy": as_array(1)}),
        zipped({name: one for name, one in members(made_file()).items() if name != "signature.npy"}),
        zipped(members(made_file()) | {"kernel.npy": bytes(4 * MOST_BYTES)}),
        zipped(members(made_file()) | {"header.npy": b"\x93NUMPY\x01\x00"}),
    ],
    ids=["empty", "half", "large", "nothing in it", "list", "more", "less", "bomb", "broken array"],
)
def test_what_is_no_forecaster_is_refused(file):
    with pytest.raises(ForecasterRefused) as refused:
        Forecaster.load(file, TRUSTED)

    assert refused.value.code == "forecast.file_invalid"


def test_an_array_of_objects_is_never_unpickled():
    file = io.BytesIO()
    np.save(file, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    with pytest.raises(ForecasterRefused, match="pickle"):
        Forecaster.load(zipped(members(made_file()) | {"kernel.npy": file.getvalue()}), TRUSTED)


def test_weights_that_do_not_fit_are_refused_even_when_signed():
    weights = made_weights()
    weights.kernel[0, 0] = np.inf
    with pytest.raises(ForecasterRefused, match="no number"):
        Forecaster.load(pack(weights, {}, KEY.sign), TRUSTED)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_file_with_any_byte_changed_is_refused_or_says_the_same(data):
    file = bytearray(made_file())
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        loaded = Forecaster.load(bytes(file), TRUSTED)
    except ForecasterRefused:
        return
    assert np.array_equal(loaded.weights.kernel, made_weights().kernel)
    assert np.array_equal(loaded.weights.output, made_weights().output)
    assert loaded.about == Forecaster.load(made_file(), TRUSTED).about
