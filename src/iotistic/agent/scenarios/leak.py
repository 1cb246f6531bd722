"""Memory that is lost on purpose: taken page by page, and given back to the system when it is let go."""

import math
import mmap

from iotistic.agent.scenarios.model import LeakKind, MemoryLeak

_MB = 2**20


def leaked_mb(leak: MemoryLeak, elapsed_s: float) -> float:
    """Return how much is to be lost so long after the start, in MB."""
    steps = math.floor(max(0.0, elapsed_s) / leak.every_s) + 1
    match leak.kind:
        case LeakKind.SUDDEN:
            return leak.most_mb
        case LeakKind.GRADUAL:
            return min(leak.most_mb, steps * leak.rate_mb)
        case LeakKind.CYCLIC:
            to_the_cap = math.ceil(leak.most_mb / leak.rate_mb)
            return min(leak.most_mb, steps % (to_the_cap + 1) * leak.rate_mb)


class Ballast:
    """Memory of the process that is good for nothing. Mapped apart from the heap, which would keep some of it."""

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []

    @property
    def mb(self) -> float:
        """What is held now."""
        return sum(len(block) for block in self._blocks) / _MB

    def hold(self, mb: float) -> None:
        """Hold this much: take what is missing, or let all go and take it anew when it is less."""
        if mb < self.mb:
            self.release()
        missing = round((mb - self.mb) * _MB) // mmap.PAGESIZE * mmap.PAGESIZE
        if missing > 0:
            block = mmap.mmap(-1, missing)
            for start in range(0, missing, mmap.PAGESIZE):
                block[start] = 1  # a page is there once it was written to
            self._blocks.append(block)

    def release(self) -> None:
        """Give everything back."""
        for block in self._blocks:
            block.close()
        self._blocks.clear()
