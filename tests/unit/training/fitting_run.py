"""Run as a program: learns, and prints what came of it as JSON.

JAX is kept out of the process of the tests: it warns of every fork after it, and other tests start processes.
"""

import json
import math
import sys
from dataclasses import asdict

import jax.numpy as jnp
import numpy as np
from tests.unit.detection.forecast_builders import made_weights

from iotistic.detection.forecast import ForecastStream
from iotistic.training.fitting import fit
from iotistic.training.network import Parameters, forward
from iotistic.training.recipe import Recipe
from iotistic.training.windows import cut, measured

RECIPE = Recipe(units=6, window=48, batch=4, epochs=10, rate=0.02, seed=5)


def compared() -> dict[str, object]:
    weights = made_weights(units=9)
    inputs, _ = measured([math.sin(i / 4) * (1 + i % 7) for i in range(150)], weights.spread_gain)
    parameters = Parameters(
        *(jnp.asarray(one, dtype=jnp.float32) for one in (weights.kernel, weights.output))
    )
    stream = ForecastStream(weights)
    here = [stream._step(float(place), float(step)) for place, step in inputs]
    return {"jax": np.asarray(forward(parameters, jnp.asarray(inputs[None])))[0].tolist(), "numpy": here}


def learned() -> dict[str, object]:
    wave = [math.sin(i / 3) + 0.4 * math.sin(i / 1.7) for i in range(1200)]
    windows = cut({"wave": wave}, length=RECIPE.window, spread_gain=RECIPE.spread_gain)
    epochs = []
    first, second = fit(*windows, RECIPE, epochs.append), fit(*windows, RECIPE)
    return {
        "about": first.about,
        "epochs": [asdict(epoch) for epoch in epochs],
        "kernels": [one.weights.kernel.tolist() for one in (first, second)],
        "abouts": [first.about, second.about],
    }


def gave_up() -> dict[str, object]:
    noise = [(7919 * i * i % 104729) / 104729 for i in range(600)]
    recipe = Recipe(units=2, window=48, epochs=60, patience=2, rate=0.3, seed=1)
    return fit(*cut({"noise": noise}, length=48, spread_gain=0.01), recipe).about["figures"]


if __name__ == "__main__":
    json.dump({"compared": compared(), "learned": learned(), "gave_up": gave_up()}, sys.stdout)
