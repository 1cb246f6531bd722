"""Series for training, from files: what is read, what is refused, and how it is cut."""

import math

import pytest

from iotistic.detection.forecast import LIMIT
from iotistic.training.sources import DataInvalid, read_series
from iotistic.training.windows import DataTooShort, cut, measured


def written(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def wave(count):
    return [math.sin(i / 7) + 0.1 * math.cos(i * i) for i in range(count)]


def test_a_file_is_one_series_in_the_order_of_its_times(tmp_path):
    path = written(
        tmp_path,
        "a.csv",
        "timestamp,value\n2026-01-01 00:05:00,2\n2026-01-01 00:00:00,1\n2026-01-01T00:10:00Z,3\n",
    )

    assert read_series(path) == {"": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize("below", ["", "series", "dev/series"])
def test_a_folder_is_a_series_for_each_file(tmp_path, below):
    for name in ("b", "a"):
        written(tmp_path / below, f"{name}.csv", "timestamp,value\n2026-01-01,1\n")

    assert read_series(tmp_path) == {"a": [1.0], "b": [1.0]}


def test_an_export_of_the_query_api_is_a_series_for_each_datapoint(tmp_path):
    written(
        tmp_path,
        "export.csv",
        "timestamp,datapoint_id,label,unit,value,received_at\r\n"
        "2026-01-01T00:00:00Z,1,J1/door,,1.5,2026-01-01T00:00:01Z\r\n"
        "2026-01-01T00:00:00Z,2,J2/motion,,0.0,2026-01-01T00:00:01Z\r\n"
        "2026-01-01T00:01:00Z,2,J2/motion,,,2026-01-01T00:01:01Z\r\n",
    )

    assert read_series(tmp_path) == {"export/J1/door": [1.5], "export/J2/motion": [0.0]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        "timestamp,value\nyesterday,2\n",
        "timestamp,value\n2026-01-01,two\n",
        "timestamp,value\n2026\n",
    ],
    ids=["empty", "other columns", "no time", "no number", "a column short"],
)
def test_what_is_no_series_is_refused_with_the_file(tmp_path, text):
    with pytest.raises(DataInvalid, match=r"bad\.csv"):
        read_series(written(tmp_path, "bad.csv", text))


def test_a_folder_without_files_and_a_file_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(DataInvalid, match="no CSV"):
        read_series(tmp_path)
    with pytest.raises(DataInvalid, match="no CSV"):
        read_series(tmp_path / "nothing.csv")


def test_what_is_learned_is_the_next_step_in_ordinary_spreads():
    inputs, targets = measured(wave(200), 0.01)
    turned, turned_targets = measured([5 - 1000 * value for value in wave(200)], 0.01)

    assert inputs[1:, 1] == pytest.approx(targets[:-1], rel=0.2, abs=0.05)
    assert turned == pytest.approx(inputs, abs=1e-4)
    assert turned_targets == pytest.approx(targets, abs=1e-4)
    assert abs(inputs).max() <= LIMIT


def test_the_last_windows_of_each_series_are_held_out():
    learned, held = cut({"a": wave(1000), "b": wave(400), "c": [1.0] * 500}, length=50, spread_gain=0.01)

    assert (len(learned), len(held)) == (15 + 6, 4 + 1)
    assert learned.inputs.shape[1:] == (50, 2)


def test_too_few_values_are_refused_with_how_many_are_needed():
    with pytest.raises(DataTooShort) as refused:
        cut({"a": wave(100)}, length=50, spread_gain=0.01)

    assert "170" in refused.value.hint
