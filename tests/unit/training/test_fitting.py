"""Learning with JAX: the same network as the one that devices compute, repeatable, and better than no forecast."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def run():
    ended = subprocess.run(
        [sys.executable, "-m", "tests.unit.training.fitting_run"],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        timeout=120,
        check=True,
    )
    return json.loads(ended.stdout)


def test_devices_compute_what_was_learned(run):
    assert len(run["compared"]["jax"]) == 130
    assert np.allclose(run["compared"]["jax"], run["compared"]["numpy"], atol=1e-5)


def test_it_learns(run):
    figures, epochs = run["learned"]["about"]["figures"], run["learned"]["epochs"]

    assert figures["held_out"] < 0.7 * figures["no_change"]
    assert [epoch["number"] for epoch in epochs] == list(range(1, 11))
    assert figures["held_out"] == min(epoch["held_out"] for epoch in epochs)


def test_the_same_seed_gives_the_same_weights(run):
    first, second = run["learned"]["kernels"]

    assert first == second
    assert run["learned"]["abouts"][0] == run["learned"]["abouts"][1]


def test_it_ends_early_where_nothing_can_be_learned(run):
    assert run["gave_up"]["epochs"] < 60
