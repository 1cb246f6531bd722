"""Chance without a memory: the same seed and the same numbers give the same value, whenever it is asked for."""

import math
import zlib

_MASK = 2**64 - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_KEEPS, _TERMS = 0.8, 24
_SCALE = math.sqrt(1 - _KEEPS**2)
_WEIGHTS = tuple(_SCALE * _KEEPS**age for age in range(_TERMS))
MOST_SWAY = 2 * math.sqrt(3) * sum(_WEIGHTS)
"""The largest value that `sway` can have."""


def seed_of(*words: object) -> int:
    """Return a seed made of words and numbers; the same in each process."""
    return zlib.crc32("\0".join(map(str, words)).encode("utf-8", "replace"))


def unit(seed: int, *numbers: int) -> float:
    """Return a number from 0 to 1, without the 1, that looks drawn."""
    return _mixed(seed, numbers) / 2**64


def bell(seed: int, *numbers: int) -> float:
    """Return a number about 0 with a deviation of 1, never beyond 3.47: four draws together."""
    bits = _mixed(seed, numbers)
    total = sum((bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
    return (total / 65_535 - 2) * math.sqrt(3)


def sway(seed: int, at: float, step_s: float) -> float:
    """Return noise that returns to 0: each step keeps 0.8 of the one before; between steps it is a line."""
    place = at / step_s
    number = math.floor(place)
    before, after = _sway(seed, number), _sway(seed, number + 1)
    return before + (after - before) * (place - number)


def _sway(seed: int, number: int) -> float:
    return sum(weight * bell(seed, number - age) for age, weight in enumerate(_WEIGHTS))


def _mixed(seed: int, numbers: tuple[int, ...]) -> int:
    state = seed & _MASK
    for number in numbers:
        state = _mix((state + _GOLDEN) ^ (number & _MASK))
    return _mix(state + _GOLDEN)


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * _FIRST) & _MASK
    state = ((state ^ (state >> 27)) * _SECOND) & _MASK
    return (state ^ (state >> 31)) & _MASK
