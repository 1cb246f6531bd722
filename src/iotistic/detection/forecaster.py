"""A trained forecaster as a file: weights in an `.npz`, with a header that says what they are, and a signature.

    header     JSON: format, scale, hyperparameters, seed, figures; shape and SHA-256 of each array
    kernel     float32, see `Weights`
    output     float32
    signature  of "iotistic forecaster" and the header, by the key of the installation's CA

The header names the content of the arrays, so its signature is theirs. Nothing of a file is used before both
were checked; a file without a signature is refused as one with a wrong one is. The reading is meant for files
from anywhere: sizes are bounded before anything is unpacked, and nothing in it is ever executed.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from iotistic.detection.forecast import Floats, ForecastStream, Weights

FORMAT = 1
MOST_BYTES = 256 * 1024
"""A larger file is none of ours: 32 units take 20 KiB, 100 units 170 KiB."""
_CONTEXT = b"iotistic forecaster\0"
_ARRAYS = ("kernel", "output")
_MEMBERS = ("header", *_ARRAYS, "signature")

VerifyKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class ForecasterRefused(ValueError):  # noqa: N818  named for what happened, as elsewhere
    """The file is no forecaster that may be used; `code` is stable."""

    code = "forecast.file_invalid"


class FormatUnknown(ForecasterRefused):
    """The file has a format of another release."""

    code = "forecast.format_unknown"


class SignatureWrong(ForecasterRefused):
    """The file was not signed by this installation, or it was changed since."""

    code = "forecast.signature_invalid"


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Weights and what is known of them: `about` is the header."""

    weights: Weights
    about: Mapping[str, Any]

    @classmethod
    def load(cls, data: bytes, verify_key: VerifyKey) -> "Forecaster":
        """Return the forecaster of a file that the holder of `verify_key` has signed.

        An agent's key is that of the CA certificate which it trusts already (see contracts/forecast_trust.py).
        Raises ForecasterRefused, FormatUnknown, SignatureWrong.
        """
        members = _members(data)
        header = members["header"].tobytes()
        _verify(verify_key, members["signature"].tobytes(), header)
        return cls(_weights(header, members), read_header(header))

    def stream(self) -> ForecastStream:
        """Return a fresh stream."""
        return ForecastStream(self.weights)


def pack(weights: Weights, about: Mapping[str, object], sign: Callable[[bytes], bytes] | None) -> bytes:
    """Return a file; `sign` makes the signature of some bytes, None leaves the file unsigned."""
    arrays = {"kernel": weights.kernel.astype("<f4"), "output": weights.output.astype("<f4")}
    content = {name: {"shape": list(one.shape), "sha256": _digest(one)} for name, one in arrays.items()}
    fields = {**about, "format": FORMAT, "spread_gain": weights.spread_gain, "arrays": content}
    return _write(json.dumps(fields, sort_keys=True).encode(), arrays, sign)


def signed(data: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """Return a file with the signature of `sign`, in place of any it had. Raises ForecasterRefused."""
    members = _members(data)
    header = members["header"].tobytes()
    _weights(header, members)
    return _write(header, {name: members[name] for name in _ARRAYS}, sign)


def about(data: bytes) -> Mapping[str, Any]:
    """Return what a file says of itself, believed by nobody yet. Raises ForecasterRefused."""
    members = _members(data)
    header = members["header"].tobytes()
    _weights(header, members)
    return {**read_header(header), "signed": bool(members["signature"].size)}


def _write(
    header: bytes, arrays: Mapping[str, npt.NDArray[Any]], sign: Callable[[bytes], bytes] | None
) -> bytes:
    signature = sign(_CONTEXT + header) if sign else b""
    members = {"header": header, **arrays, "signature": signature}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            array = np.array(bytearray(member), dtype=np.uint8) if isinstance(member, bytes) else member
            written = io.BytesIO()
            np.lib.format.write_array(written, array, allow_pickle=False)
            # A fixed date: the same weights are the same file.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), written.getvalue())
    return file.getvalue()


def _members(data: bytes) -> dict[str, npt.NDArray[Any]]:
    if len(data) > MOST_BYTES:
        raise ForecasterRefused(f"a forecaster has at most {MOST_BYTES} bytes, not {len(data)}")
    try:
        return _unpacked(data)
    except ForecasterRefused:
        raise
    except Exception as exc:  # zipfile and numpy raise a dozen kinds for files that are broken
        raise ForecasterRefused(f"the file cannot be read: {exc}") from exc


def _unpacked(data: bytes) -> dict[str, npt.NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
        if sum(one.file_size for one in archive.infolist()) > 2 * MOST_BYTES:
            raise ForecasterRefused("the file unpacks to more than a forecaster has")
        if "header" not in found:
            raise ForecasterRefused("the file has no header")
        read_header(_array(archive.read(found["header"])).tobytes())  # another format has other members
        if sorted(found) != sorted(_MEMBERS) or len(found) != len(archive.infolist()):
            raise ForecasterRefused(f"a forecaster holds {', '.join(_MEMBERS)}, each once")
        return {name: _array(archive.read(found[name])) for name in _MEMBERS}


def _array(written: bytes) -> npt.NDArray[Any]:
    return np.lib.format.read_array(io.BytesIO(written), allow_pickle=False)


def _verify(key: VerifyKey, signature: bytes, header: bytes) -> None:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, _CONTEXT + header)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, _CONTEXT + header, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(signature, _CONTEXT + header, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as exc:
        why = "was not signed by this installation, or was changed since" if signature else "is not signed"
        raise SignatureWrong(f"the forecaster {why}") from exc


def read_header(header: bytes) -> dict[str, Any]:
    """Return the fields of a header. Raises ForecasterRefused, FormatUnknown."""
    try:
        fields: object = json.loads(header)
    except (ValueError, RecursionError) as exc:
        raise ForecasterRefused("the header is not JSON") from exc
    if not isinstance(fields, dict):
        raise ForecasterRefused("the header is no object")
    known = cast("dict[str, Any]", fields)
    if known.get("format") != FORMAT:
        raise FormatUnknown(f"the forecaster has format {known.get('format')!r}; known here is {FORMAT}")
    return known


def _weights(header: bytes, members: Mapping[str, npt.NDArray[Any]]) -> Weights:
    fields = read_header(header)
    try:
        for name in _ARRAYS:
            _compare(name, members[name], fields["arrays"][name])
        return Weights(_wide(members["kernel"]), _wide(members["output"]), float(fields["spread_gain"]))
    except ForecasterRefused:
        raise
    except (KeyError, TypeError, ValueError) as exc:
        raise ForecasterRefused(f"the header and the arrays do not fit together: {exc}") from exc


def _compare(name: str, array: npt.NDArray[Any], said: Mapping[str, Any]) -> None:
    if said["shape"] != list(array.shape) or array.dtype != np.dtype("<f4"):
        raise ForecasterRefused(f"{name} is not of the shape that the header says")
    if said["sha256"] != _digest(array):
        raise SignatureWrong(f"{name} was changed since the forecaster was made")


def _wide(array: npt.NDArray[Any]) -> Floats:
    return array.astype(np.float64)


def _digest(array: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
