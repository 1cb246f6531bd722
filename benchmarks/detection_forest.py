"""A robust random cut forest over a sliding window of points, compiled by numba.

Written from the published description (Guha and others, 2016), since the package `rrcf` imports what setuptools
no longer has. Same window, same cuts, same score: a point's collusive displacement, the largest ratio of points
moved to points removed on its way to the root, and of that the mean over all trees. A tree is rows of arrays:
node 0 .. size - 1 are leaves, the rest are cuts. Equal points share one leaf, which counts them.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

try:
    from numba import njit
except ModuleNotFoundError:
    F = TypeVar("F", bound=Callable[..., object])

    def njit(function: F) -> F:
        """Leave a function as it is: slow, but what it does can be tested without a compiler."""
        return function


NONE = -1


class Tree(NamedTuple):
    """One tree. `leaf_of` gives the leaf of a place in the window; `free` and `marks` keep unused nodes."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    axis: npt.NDArray[np.int64]
    cut: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    leaf_of: npt.NDArray[np.int64]
    free: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int64]


ROOT, FREE_LEAVES, FREE_CUTS = 0, 1, 2


def tree(size: int, width: int) -> Tree:
    """Return an empty tree for `size` points of `width` numbers."""
    nodes = 2 * size
    return Tree(
        left=np.full(nodes, NONE),
        right=np.full(nodes, NONE),
        parent=np.full(nodes, NONE),
        axis=np.zeros(nodes, dtype=np.int64),
        cut=np.zeros(nodes),
        count=np.zeros(nodes, dtype=np.int64),
        low=np.zeros((nodes, width)),
        high=np.zeros((nodes, width)),
        leaf_of=np.full(size, NONE),
        free=np.arange(nodes),
        marks=np.array([NONE, size, size]),
    )


@njit
def seed(number: int) -> None:
    """Seed the cuts."""
    np.random.seed(number)  # noqa: NPY002  numba has no other


@njit
def forget(t: Tree, place: int) -> None:
    """Take the point at a place of the window out."""
    leaf, t.leaf_of[place] = t.leaf_of[place], NONE
    t.count[leaf] -= 1
    node = t.parent[leaf]
    while node != NONE:
        t.count[node] -= 1
        node = t.parent[node]
    if t.count[leaf]:
        return
    above = t.parent[leaf]
    t.free[t.marks[FREE_LEAVES]] = leaf
    t.marks[FREE_LEAVES] += 1
    if above == NONE:
        t.marks[ROOT] = NONE
        return
    beside = t.right[above] if t.left[above] == leaf else t.left[above]
    _replace(t, above, beside)
    t.free[len(t.leaf_of) + t.marks[FREE_CUTS]] = above
    t.marks[FREE_CUTS] += 1
    node = t.parent[beside]
    while node != NONE:
        _bound(t, node)
        node = t.parent[node]


@njit
def _replace(t: Tree, old: int, new: int) -> None:
    above = t.parent[old]
    t.parent[new] = above
    if above == NONE:
        t.marks[ROOT] = new
    elif t.left[above] == old:
        t.left[above] = new
    else:
        t.right[above] = new


@njit
def _bound(t: Tree, node: int) -> None:
    one, other = t.left[node], t.right[node]
    for i in range(t.low.shape[1]):
        t.low[node, i] = min(t.low[one, i], t.low[other, i])
        t.high[node, i] = max(t.high[one, i], t.high[other, i])


@njit
def insert(t: Tree, place: int, point: npt.NDArray[np.float64]) -> None:
    """Put a point into the tree, at a free place of the window."""
    leaf = _same(t, point)
    if leaf == NONE:
        leaf = _hang(t, point)
    t.leaf_of[place] = leaf
    node = leaf
    while node != NONE:
        t.count[node] += 1
        for i in range(len(point)):
            t.low[node, i] = min(t.low[node, i], point[i])
            t.high[node, i] = max(t.high[node, i], point[i])
        node = t.parent[node]


@njit
def _same(t: Tree, point: npt.NDArray[np.float64]) -> int:
    """Return the leaf that holds an equal point."""
    node = t.marks[ROOT]
    if node == NONE:
        return NONE
    while t.left[node] != NONE:
        node = t.left[node] if point[t.axis[node]] <= t.cut[node] else t.right[node]
    for i in range(len(point)):
        if t.low[node, i] != point[i]:
            return NONE
    return node


@njit
def _hang(t: Tree, point: npt.NDArray[np.float64]) -> int:
    """Hang a leaf beside the first node that a random cut of both parts from it."""
    t.marks[FREE_LEAVES] -= 1
    leaf = t.free[t.marks[FREE_LEAVES]]
    t.low[leaf], t.high[leaf], t.count[leaf] = point, point, 0
    t.left[leaf], t.right[leaf], t.parent[leaf] = NONE, NONE, NONE
    node = t.marks[ROOT]
    if node == NONE:
        t.marks[ROOT] = leaf
        return leaf
    axis, cut = _random_cut(t, node, point)
    while t.low[node, axis] < cut < t.high[node, axis]:
        node = t.left[node] if point[t.axis[node]] <= t.cut[node] else t.right[node]
        axis, cut = _random_cut(t, node, point)
    t.marks[FREE_CUTS] -= 1
    above = t.free[len(t.leaf_of) + t.marks[FREE_CUTS]]
    _replace(t, node, above)
    t.axis[above], t.cut[above], t.count[above] = axis, cut, t.count[node]
    t.low[above], t.high[above] = t.low[node], t.high[node]
    first = cut <= t.low[node, axis]
    t.left[above], t.right[above] = (leaf, node) if first else (node, leaf)
    t.parent[leaf] = t.parent[node] = above
    return leaf


@njit
def _random_cut(t: Tree, node: int, point: npt.NDArray[np.float64]) -> tuple[int, float]:
    """Return a cut of the box around node and point: sides are drawn by their length."""
    width = len(point)
    spans = np.empty(width)
    for i in range(width):
        spans[i] = max(t.high[node, i], point[i]) - min(t.low[node, i], point[i])
    rest = np.random.random() * spans.sum()  # noqa: NPY002
    for i in range(width):
        if rest < spans[i]:
            return i, min(t.low[node, i], point[i]) + rest
        rest -= spans[i]
    widest = np.argmax(spans)
    return widest, min(t.low[node, widest], point[widest])


@njit
def displacement(t: Tree, place: int) -> float:
    """Return the collusive displacement of the point at a place of the window."""
    node, most = t.leaf_of[place], 0.0
    while t.parent[node] != NONE:
        above = t.parent[node]
        beside = t.right[above] if t.left[above] == node else t.left[above]
        most = max(most, t.count[beside] / t.count[node])
        node = above
    return most


@njit
def step(forest: list[Tree], place: int, full: bool, point: npt.NDArray[np.float64]) -> float:
    """Put a point into every tree, in place of the oldest when they are full; return its mean displacement."""
    total = 0.0
    for t in forest:
        if full:
            forget(t, place)
        insert(t, place, point)
        total += displacement(t, place)
    return total / len(forest)
