"""The network in JAX: the same LSTM as `iotistic.detection.forecast`, over whole windows and with gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from iotistic.detection.forecast import INPUTS, Weights

_FORGET_BIAS = 1.0
"""A fresh cell remembers: learning starts from there."""


class Parameters(NamedTuple):
    """What is learned; the layout of `Weights`."""

    kernel: jax.Array
    output: jax.Array


def fresh(units: int, seed: int) -> Parameters:
    """Return small random weights; the output starts at nought: no change is forecast."""
    scale = 1.0 / np.sqrt(INPUTS + units)
    chance = np.random.default_rng(seed)
    kernel = chance.uniform(-scale, scale, (4 * units, INPUTS + units + 1)).astype(np.float32)
    kernel[:, -1] = 0.0
    kernel[units : 2 * units, -1] = _FORGET_BIAS
    return Parameters(jnp.asarray(kernel), jnp.zeros(units + 1, dtype=jnp.float32))


def forward(parameters: Parameters, inputs: jax.Array) -> jax.Array:
    """Return forecasts (windows, length) of inputs (windows, length, 2); each window starts from nothing."""
    units = parameters.output.shape[0] - 1
    kernel, bias = jnp.swapaxes(parameters.kernel[:, :-1], 0, 1), parameters.kernel[:, -1]

    def step(
        state: tuple[jax.Array, jax.Array], given: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        hidden, cell = state
        gates = jnp.concatenate([given, hidden], axis=1) @ kernel + bias
        opened, kept, shown = jnp.split(jax.nn.sigmoid(gates[:, : 3 * units]), 3, axis=1)
        cell = kept * cell + opened * jnp.tanh(gates[:, 3 * units :])
        hidden = shown * jnp.tanh(cell)
        return (hidden, cell), hidden @ parameters.output[:-1] + parameters.output[-1]

    nothing = jnp.zeros((inputs.shape[0], units), dtype=inputs.dtype)
    _, said = jax.lax.scan(step, (nothing, nothing), jnp.swapaxes(inputs, 0, 1))
    return jnp.swapaxes(said, 0, 1)


def loss(parameters: Parameters, inputs: jax.Array, targets: jax.Array, settle: int) -> jax.Array:
    """Return the mean Huber loss, in spreads, without the first `settle` values of each window."""
    off = jnp.abs(forward(parameters, inputs) - targets)[:, settle:]
    return jnp.mean(jnp.where(off < 1.0, 0.5 * off * off, off - 0.5))


def to_weights(parameters: Parameters, spread_gain: float) -> Weights:
    """Return the weights as detection takes them."""
    kernel, output = (np.asarray(one, dtype=np.float64) for one in parameters)
    return Weights(kernel, output, spread_gain)
