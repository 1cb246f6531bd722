import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

from iotistic.entrypoints.output import emit, to_plain


class Colour(Enum):
    RED = "red"


@dataclass
class Row:
    name: str
    seen_at: datetime


def test_times_become_utc_with_z_whatever_their_zone():
    tokyo = datetime(2026, 1, 31, 21, 0, tzinfo=timezone(timedelta(hours=9)))

    assert to_plain(tokyo) == "2026-01-31T12:00:00Z"


def test_values_that_json_does_not_know_become_ones_it_does():
    plain = to_plain({"path": Path("/a"), "colour": Colour.RED, "age": timedelta(seconds=90), "set": {1}})

    assert plain == {"path": "/a", "colour": "red", "age": 90.0, "set": [1]}


def test_json_output_is_one_document_on_one_line_for_programs(capsys):
    emit([Row("a", datetime(2026, 1, 31, tzinfo=UTC))], json=True)

    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == [{"name": "a", "seen_at": "2026-01-31T00:00:00Z"}]


def test_a_table_shows_the_asked_columns_and_never_folds_a_row_in_a_pipe(capsys):
    emit([{"name": "x" * 300, "hidden": 1, "note": None}], json=False, columns=("name", "note"))

    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["name", "note"], ["x" * 300, "-"]]


def test_text_of_a_device_is_shown_as_it_is_and_not_read_as_markup(capsys):
    emit([{"name": "[red]boo[/red]"}], json=False)

    assert "[red]boo[/red]" in capsys.readouterr().out


def test_nothing_to_show_is_said(capsys):
    emit([], json=False, empty="no devices")

    assert capsys.readouterr().out == "no devices\n"


def test_on_a_narrow_terminal_the_longest_texts_are_folded_and_the_rest_stays_readable(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [
        {
            "service": "a-service",
            "why": "it cannot be fetched " * 8 + "x" * 50,
            "until": "2026-01-01T00:00:00Z",
        }
    ]
    emit(rows, json=False)

    out = capsys.readouterr().out
    assert "a-service" in out
    assert "2026-01-01T00:00:00Z" in out
    assert out.count("fetched") == 8
    assert out.count("x") == 50
    assert "…" not in out
