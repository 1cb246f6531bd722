"""Ranges of sequence numbers: pairs of first and last, both included, as the delivery ledger writes them."""

from collections.abc import Iterable

Range = tuple[int, int]


def joined(numbers: Iterable[int]) -> list[Range]:
    """Return numbers as the fewest ranges, in order."""
    ranges: list[Range] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def without(whole: Range, holes: Iterable[Range]) -> list[Range]:
    """Return a range without others, which may overlap and stand in any order."""
    first, last = whole
    left: list[Range] = []
    for hole_first, hole_last in sorted(holes):
        if hole_first > first:
            left.append((first, min(hole_first - 1, last)))
        first = max(first, hole_last + 1)
        if first > last:
            break
    if first <= last:
        left.append((first, last))
    return [(one, other) for one, other in left if one <= other]


def within(ranges: Iterable[Range], whole: Range) -> list[Range]:
    """Return what of some ranges lies inside of another, in order."""
    cut = [(max(first, whole[0]), min(last, whole[1])) for first, last in ranges]
    return sorted((first, last) for first, last in cut if first <= last)
