"""Amounts as people and orchestrators write them: CPU as "0.5" or "500m", memory as "512M" or "256Mi"."""

import re
from decimal import Decimal

_NANO = 1_000_000_000
_MOST = 1 << 60
_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(?:([kmgtKMGT])(i?)[bB]?|[bB])?")
_STEPS = "kmgt"


def parse_cpu(text: object) -> int:
    """Return billionths of a core. Raises ValueError."""
    found = _CPU.fullmatch(_as_text(text))
    if found is None:
        raise ValueError('an amount of CPU is like "0.5" or "500m"')
    return _bounded(Decimal(found[1]) * (_NANO // 1000 if found[2] else _NANO))


def parse_memory(text: object) -> int:
    """Return bytes: "512M" is in powers of 1000, "512Mi" in powers of 1024. Raises ValueError.

    Docker and Kubernetes disagree about the plain letters; ours are Kubernetes'.
    """
    found = _MEMORY.fullmatch(_as_text(text))
    if found is None:
        raise ValueError('an amount of memory is like "512M" or "256Mi"')
    power = _STEPS.index(found[2].lower()) + 1 if found[2] else 0
    return _bounded(Decimal(found[1]) * (1024 if found[3] else 1000) ** power)


def _as_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("an amount is a text or a number")  # noqa: TRY004  one kind of fault for the caller
    return str(value).strip()


def _bounded(amount: Decimal) -> int:
    if not 0 < amount <= _MOST:
        raise ValueError("the amount is out of bounds")
    return int(amount)
