"""The detector's benchmark: where its data comes from, and that the peer is what it says."""

import statistics

import pytest
from benchmarks.detection import CHOSEN, ZScore
from benchmarks.detection_data import LabelledDataMissing, labelled_data

from iotistic.detection import benchmark_detector


def test_without_its_folder_the_benchmark_says_what_to_set(monkeypatch):
    monkeypatch.delenv("NAB_DATA", raising=False)

    with pytest.raises(LabelledDataMissing, match="NAB_DATA is not set") as refused:
        labelled_data()
    assert "labels.json" in refused.value.hint


def test_a_folder_without_a_scorer_is_refused_by_the_name_of_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("NAB_DATA", str(tmp_path))

    with pytest.raises(LabelledDataMissing, match=r"score\.py"):
        labelled_data()


def test_the_frozen_thresholds_are_shares():
    assert set(CHOSEN) == {"threshold", "raw_threshold"}
    assert all(0 < value < 1 for value in CHOSEN.values())


def test_the_factory_gives_a_fresh_detector_each_time():
    first, second = benchmark_detector(), benchmark_detector()
    first.update(0.0, 1.0)

    assert (first.seen, second.seen) == (1, 0)


def test_the_peer_is_the_distance_from_the_mean_of_the_window():
    values = [100.0 + (i * 7919) % 101 for i in range(1000)]
    peer = ZScore()
    for value in values:
        peer.update(0.0, value)
    window = values[-800:]

    expected = abs(150.0 - statistics.fmean(window)) / statistics.pstdev(window)
    assert peer.update(0.0, 150.0)[0] == pytest.approx(expected)
