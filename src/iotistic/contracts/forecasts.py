"""How a forecaster comes to a device: in the `config` of its target, in base64, signed.

    {"config": {"anomalyDetection": {"forecaster": {"file": "<base64 of the .npz file>", "weight": 0}}}}

The signature is that of the installation's CA, whose certificate a device has had since its provisioning (the
broker's `caCert`), so it needs nothing new to check it: see forecast_trust.py. `weight` is what the forecast's
error counts among the judges of a sample, each of which has 1; without it 0, and the error only names what
others have found.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

SECTION, FIELD = "anomalyDetection", "forecaster"
MOST_BYTES = 256 * 1024
MOST_WEIGHT = 100.0


@dataclass(frozen=True, slots=True)
class ForecastWish:
    """A forecaster's file, not checked yet, and what its error is to count."""

    file: bytes = field(repr=False)
    weight: float = 0.0

    def write(self) -> dict[str, Any]:
        """Return the part of a target that says so."""
        told = {"file": base64.b64encode(self.file).decode(), "weight": self.weight}
        return {"config": {SECTION: {FIELD: told}}}


def without_file(config: object) -> object:
    """Return a target's `config` with a digest in place of a forecaster's file, as devices tell it: 27 KiB less."""
    document = _mapping(config)
    section = _mapping(document.get(SECTION))
    wish = _mapping(section.get(FIELD))
    file = wish.get("file")
    if not isinstance(file, str):
        return config
    digest = hashlib.sha256(file.encode("utf-8", "replace")).hexdigest()
    return {**document, SECTION: {**section, FIELD: {**wish, "file": f"sha256:{digest}"}}}


def read_forecast(value: object) -> ForecastWish:
    """Read the field of a target; ValueError says what it is to be. The file is for `Forecaster.load` to check."""
    if not isinstance(value, dict) or not {"file"} <= value.keys() <= {"file", "weight"}:
        raise ValueError('is to be an object with "file" and, if wished, "weight"')
    fields = cast("Mapping[str, object]", value)
    weight = fields.get("weight", 0.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= MOST_WEIGHT:
        raise ValueError(f'needs a "weight" from 0 to {MOST_WEIGHT:g}')
    return ForecastWish(_decoded(fields["file"]), float(weight))


def _decoded(value: object) -> bytes:
    if not isinstance(value, str) or len(value) > MOST_BYTES * 4 // 3 + 4:
        raise ValueError(f'needs a "file" in base64, of at most {MOST_BYTES} bytes')
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError('has a "file" that is not base64') from exc


def _mapping(given: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", given) if isinstance(given, Mapping) else {}
