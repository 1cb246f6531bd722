"""The detector's benchmark: where its data comes from, and that the peer is what it says."""

import statistics

import pytest
from benchmarks.detection_data import LabelledDataMissing, labelled_data
from benchmarks.detection_feed import CHOSEN
from benchmarks.detection_peers import ZScore
from tests.unit.bench.labelled_folder import labelled_folder

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


def test_a_folder_without_series_says_so(monkeypatch, tmp_path):
    labelled_folder(tmp_path, ["only"])
    monkeypatch.setenv("NAB_DATA", str(tmp_path))

    with pytest.raises(LabelledDataMissing, match="too few series"):
        labelled_data()


@pytest.mark.parametrize(
    ("text", "told"),
    [("timestamp,value\n2025-03-01 00:00:00,high\n", "line 2"), ("timestamp,value\n1,2,3\n", "line 2")],
)
def test_a_line_that_is_no_sample_is_refused_with_its_place(monkeypatch, tmp_path, text, told):
    labelled_folder(tmp_path, ["one", "two"])
    (tmp_path / "dev" / "series" / "two.csv").write_text(text)
    monkeypatch.setenv("NAB_DATA", str(tmp_path))

    with pytest.raises(LabelledDataMissing, match=rf"two\.csv, {told}"):
        labelled_data()


def test_a_series_without_its_file_is_refused_by_name(monkeypatch, tmp_path):
    labelled_folder(tmp_path, ["one", "two"])
    (tmp_path / "dev" / "series" / "two.csv").unlink()
    monkeypatch.setenv("NAB_DATA", str(tmp_path))

    with pytest.raises(LabelledDataMissing, match=r"there is no .*two\.csv"):
        labelled_data()
