"""How a network is made. Without JAX, so that what offers the choice need not load it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is made; all of it stands in the header of the file."""

    units: int = 32
    window: int = 128
    """Values of a window."""
    settle: int = 16
    """First values of a window that are not judged: the network has seen too little."""
    batch: int = 64
    epochs: int = 40
    patience: int = 5
    """Epochs without a better figure on held-out windows before it ends."""
    rate: float = 0.003
    spread_gain: float = 0.002
    seed: int = 0
