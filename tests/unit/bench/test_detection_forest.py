"""Our random cut forest: its trees stay whole while points come and go, and an outlier stands out.

The benchmark has it compiled by numba; here the same functions run as they are where that is not installed.
"""

import numpy as np
import pytest
from benchmarks import detection_forest as forest

SIZE, WIDTH = 16, 3


def points(count: int, *, distinct: int = 1000) -> np.ndarray:
    return np.random.default_rng(1).integers(0, distinct, (count, WIDTH)).astype(float)


@pytest.fixture(scope="module")
def grown():
    """A tree that has seen 300 points, many of them equal, with the last 16 in it."""
    forest.seed(1)
    tree, seen = forest.tree(SIZE, WIDTH), points(300, distinct=3)
    for number, point in enumerate(seen):
        place = number % SIZE
        if number >= SIZE:
            forest.forget(tree, place)
        forest.insert(tree, place, point)
    return tree, seen[-SIZE:]


def below(tree, node):
    return [node] if tree.left[node] < 0 else [*below(tree, tree.left[node]), *below(tree, tree.right[node])]


def cuts(tree, node):
    return [] if tree.left[node] < 0 else [node, *cuts(tree, tree.left[node]), *cuts(tree, tree.right[node])]


def test_equal_points_share_a_leaf_and_all_of_the_window_are_counted(grown):
    tree, window = grown
    root = tree.marks[forest.ROOT]
    leaves = below(tree, root)

    assert tree.count[root] == SIZE == sum(tree.count[leaf] for leaf in leaves)
    assert len(leaves) == len({tuple(point) for point in window.tolist()})


def test_every_box_holds_exactly_what_is_below_it(grown):
    tree, _ = grown

    for node in cuts(tree, tree.marks[forest.ROOT]):
        leaves = below(tree, node)
        assert tree.low[node].tolist() == tree.low[leaves].min(axis=0).tolist()
        assert tree.high[node].tolist() == tree.high[leaves].max(axis=0).tolist()
        assert tree.count[node] == tree.count[leaves].sum()


def test_every_cut_parts_its_sides(grown):
    tree, _ = grown

    for node in cuts(tree, tree.marks[forest.ROOT]):
        axis, cut = tree.axis[node], tree.cut[node]
        assert tree.high[tree.left[node], axis] <= cut <= tree.low[tree.right[node], axis]


def test_a_tree_can_be_emptied_and_used_again():
    tree, some = forest.tree(SIZE, WIDTH), points(SIZE)
    for _ in range(3):
        for place, point in enumerate(some):
            forest.insert(tree, place, point)
        for place in range(SIZE):
            forest.forget(tree, place)

        assert tree.marks.tolist() == [forest.NONE, SIZE, SIZE]


def test_an_outlier_is_displaced_most():
    tree, some = forest.tree(SIZE, WIDTH), points(SIZE)
    some[5] = 1e6
    for place, point in enumerate(some):
        forest.insert(tree, place, point)

    scores = [forest.displacement(tree, place) for place in range(SIZE)]
    assert scores.index(max(scores)) == 5
    assert scores[5] == SIZE - 1
