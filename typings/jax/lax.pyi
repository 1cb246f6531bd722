from collections.abc import Callable
from typing import TypeVar

from jax import Array

_C = TypeVar("_C")

def scan(f: Callable[[_C, Array], tuple[_C, Array]], init: _C, xs: Array) -> tuple[_C, Array]: ...
