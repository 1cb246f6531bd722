"""Learning: Adam over shuffled windows, until held-out windows get no better.

The seed decides the first weights, the order of windows and which of them are turned upside down, so a run on
a CPU can be repeated to the bit on the same machine. On a GPU sums are taken in an order of its own.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from iotistic.detection.forecast import Weights
from iotistic.training.network import Parameters, fresh, loss, to_weights
from iotistic.training.recipe import Recipe
from iotistic.training.windows import Windows


@dataclass(frozen=True, slots=True)
class Epoch:
    """How far learning is; losses are per value."""

    number: int
    learned: float
    held_out: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network, and what is to be known of how it was made."""

    weights: Weights
    about: dict[str, Any]


def fit(
    learned: Windows, held_out: Windows, recipe: Recipe, told: Callable[[Epoch], None] = lambda _: None
) -> Fitted:
    """Return the weights that did best on the held-out windows; `told` hears of every epoch."""
    chance = np.random.default_rng(recipe.seed)
    batch = min(recipe.batch, len(learned))
    steps = len(learned) // batch
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(recipe.rate, steps * recipe.epochs, 0.05)),
    )
    parameters = best = fresh(recipe.units, recipe.seed)
    state = optimiser.init(parameters)
    judge = jax.jit(partial(loss, settle=recipe.settle))
    step = _stepping(optimiser, recipe.settle)
    no_change = least = float(judge(parameters, *_placed(held_out)))
    first = ended = 0
    for epoch in range(1, recipe.epochs + 1):
        total = 0.0
        for some in chance.permutation(len(learned))[: steps * batch].reshape(steps, batch):
            inputs, targets = _turned(learned.take(some), chance)
            parameters, state, cost = step(parameters, state, inputs, targets)
            total += float(cost)
        now = float(judge(parameters, *_placed(held_out)))
        told(Epoch(epoch, total / steps, now))
        ended = epoch
        if now < least:
            best, least, first = parameters, now, epoch
        if epoch - first >= recipe.patience:
            break
    figures = {"held_out": least, "no_change": no_change, "gain": 1.0 - least / max(no_change, 1e-12)}
    counts = {
        "epochs": ended,
        "best_epoch": first,
        "windows": len(learned),
        "held_out_windows": len(held_out),
    }
    about = {"kind": "lstm", "recipe": asdict(recipe), "figures": figures | counts}
    return Fitted(to_weights(best, recipe.spread_gain), about)


def _stepping(optimiser: optax.GradientTransformation, settle: int) -> Callable[..., Any]:
    def step(
        parameters: Parameters, state: optax.OptState, inputs: jax.Array, targets: jax.Array
    ) -> tuple[Parameters, optax.OptState, jax.Array]:
        cost, gradient = jax.value_and_grad(loss)(parameters, inputs, targets, settle)
        change, state = optimiser.update(gradient, state)
        return optax.apply_updates(parameters, change), state, cost

    return jax.jit(step)


def _placed(windows: Windows) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(windows.inputs), jnp.asarray(windows.targets)


def _turned(windows: Windows, chance: np.random.Generator) -> tuple[jax.Array, jax.Array]:
    """Return the windows, about half of them upside down: which way is up means nothing."""
    sign = chance.choice(np.array([-1.0, 1.0], dtype=np.float32), len(windows))
    return jnp.asarray(windows.inputs * sign[:, None, None]), jnp.asarray(windows.targets * sign[:, None])
