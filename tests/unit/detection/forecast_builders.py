"""Networks with made weights, and a key that signs them."""

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from iotistic.detection.forecast import ForecastStream, Weights
from iotistic.detection.forecaster import pack

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)


def made_weights(units: int = 5, seed: int = 3) -> Weights:
    chance = np.random.default_rng(seed)
    kernel = chance.uniform(-0.8, 0.8, (4 * units, units + 3)).astype(np.float32).astype(np.float64)
    output = chance.uniform(-0.8, 0.8, units + 1).astype(np.float32).astype(np.float64)
    return Weights(kernel, output, 0.01)


def forecasts(stream: ForecastStream, values: list[float]) -> list[float | None]:
    """Return what was said before each value."""
    said = []
    for value in values:
        said.append(stream.expected)
        stream.update(value)
    return said


def made_file(**about: object) -> bytes:
    return pack(made_weights(), {"kind": "lstm", **about}, KEY.sign)
