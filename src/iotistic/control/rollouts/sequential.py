"""Do devices that were updated fail more often than those that were not? Looked at after each of them. Pure.

A test that is made again and again is wrong sooner or later if each look is one of an ordinary test. This one
holds its promise however often one looks (it bets against "no harm done", and a fair bet rarely gets rich):

    k of n updated devices failed; q is how often devices fail anyway
    E(q) = integral over p of  (p/q)^k ((1-p)/(1-q))^(n-k)  with p uniform   =  B(k+1, n-k+1) / (q^k (1-q)^(n-k))

If updated devices fail with probability q, E(q) is 1 on average at any time, and ever exceeds 1/a with a
probability of a at most (Ville). `q` is not known. From f of m waiting devices that failed, the same bet gives
what it may be at most; the half of `a` is spent on that, the other half on the test. Rates that are tolerated
anyway bound it from below. For k/n > q, E falls with q, so the largest q that is possible decides for all.

Rejected: comparing in pairs (throws away that the waiting devices are many), a fixed percentage (too slow for
20 devices or too nervous for 2 000; it stands beside this as a rule of its own).
"""

import math
from dataclasses import dataclass

LEAST_CONTROL = 20
"""Fewer devices that wait say too little of how often devices fail anyway."""
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """How many of how many failed."""

    failed: int
    of: int

    @property
    def share(self) -> float:
        """The proportion, 0 for none of none."""
        return self.failed / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a look found. `evidence` is how many times better harm explains what was seen; it halts from `needed`."""

    halts: bool
    evidence: float
    needed: float
    usual: float
    """How often devices fail anyway, at most."""


def compare(updated: Seen, waiting: Seen, *, false_halt_rate: float, tolerated: float) -> Comparison:
    """Say whether updated devices fail more often; `tolerated` is a share of failures that is fine anyway."""
    spent = false_halt_rate / 2
    usual = max(tolerated, at_most(waiting, spent)) if waiting.of >= LEAST_CONTROL else tolerated
    evidence = math.exp(min(log_evidence(updated, usual), 700.0)) if updated.share > usual else 0.0
    return Comparison(evidence >= 1 / spent, evidence, 1 / spent, usual)


def log_evidence(seen: Seen, usual: float) -> float:
    """Return the logarithm of E for a usual share of failures between 0 and 1."""
    k, well = seen.failed, seen.of - seen.failed
    mixture = math.lgamma(k + 1) + math.lgamma(well + 1) - math.lgamma(seen.of + 2)
    if (usual <= 0 and k) or (usual >= 1 and well):
        return math.inf
    return mixture - (k * math.log(usual) if k else 0.0) - (well * math.log1p(-usual) if well else 0.0)


def at_most(seen: Seen, risk: float) -> float:
    """Return what the share of failures may be at most; ever wrong with a probability of `risk` at most."""
    low, high, bound = seen.share, 1.0, -math.log(risk)
    if not seen.of:
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if log_evidence(seen, middle) < bound:
            low = middle
        else:
            high = middle
    return high
