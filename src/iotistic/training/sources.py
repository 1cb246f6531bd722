"""Series from files: a CSV with `timestamp,value`, a folder of them, or a folder of labelled streams.

Exports of the query API are read too: their columns `label` and `avg` mean what they say. Values stand in the
order of their times. Labels of labelled streams are not read: a forecaster learns from values alone.
"""

import csv
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from iotistic.kernel.errors import Invalid

Series = Mapping[str, list[float]]
_TIMES = ("timestamp", "time")
_VALUES = ("value", "avg")
_NAMES = ("label", "datapoint")


class DataInvalid(Invalid):
    """The file cannot be read as a series."""

    code = "train.data_invalid"


def read_series(path: Path) -> Series:
    """Return the series of a file or folder by name. Raises DataInvalid."""
    if path.is_file():
        return _read(path)
    folder = next((one for one in (path / "dev" / "series", path / "series") if one.is_dir()), path)
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise DataInvalid(f"there is no CSV file in {folder}", hint="give a file, or a folder with *.csv")
    found: dict[str, list[float]] = {}
    for file in files:
        found |= {f"{file.stem}/{name}" if name else file.stem: one for name, one in _read(file).items()}
    return found


def _read(path: Path) -> Series:
    rows: dict[str, list[tuple[float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, list[str]())]
            at, of, named = (_column(header, names) for names in (_TIMES, _VALUES, _NAMES))
            if at is None or of is None:
                raise DataInvalid(
                    f"{path} has no columns `timestamp` and `value`", hint="the first line names the columns"
                )
            for row in reader:
                if row and row[of].strip():
                    name = "" if named is None else row[named]
                    rows.setdefault(name, []).append((_seconds(row[at]), float(row[of])))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError) as exc:
        raise DataInvalid(f"{path} cannot be read as a series: {exc}") from exc
    return {name: [value for _, value in sorted(one, key=_time)] for name, one in rows.items()}


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _seconds(stamp: str) -> float:
    moment = dt.datetime.fromisoformat(stamp.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _time(row: tuple[float, float]) -> float:
    return row[0]
