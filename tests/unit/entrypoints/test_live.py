import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from rich.console import Console

from iotistic.entrypoints.live.board import Board, sparkline
from iotistic.entrypoints.live.chart import Bar, chart
from iotistic.entrypoints.live.view import draw
from iotistic.telemetry.query.schemas import DeviceSummary, LatestValue, Stats

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def device(number: int, name: str) -> DeviceSummary:
    return DeviceSummary(
        id=number,
        name=name,
        uuid=uuid4(),
        mac=None,
        external_key=None,
        template="t",
        is_controller=False,
        created_at=NOON,
        last_seen=NOON,
        datapoints=1,
    )


def reading(device_id: int, value: float | None, *, text: str | None = None, at: datetime = NOON, unit="°C"):
    return LatestValue(
        device_id=device_id,
        datapoint_id=1,
        label="temperature",
        unit=unit,
        timestamp=at,
        value=value,
        text=text,
        received_at=at,
    )


def stats(*, messages_per_s: float = 0.0, devices: int = 1) -> Stats:
    return Stats(
        devices=devices,
        rows_stored=0,
        rows_stored_is_estimate=False,
        dead_letters_open=0,
        dead_letters_open_is_least=False,
        messages_per_s=messages_per_s,
        rows_per_s=0.0,
        watchers=0,
        workers=[],
    )


def picture(board: Board, *, width: int = 120, height: int = 40) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(draw(board, width=width, height=height, docs="http://x/docs", now=NOON))
    return console.export_text()


def test_a_sparkline_goes_from_the_least_to_the_greatest_value():
    assert sparkline([1, 2, 3, 4], 10) == "▁▃▆█"


def test_a_sparkline_of_equal_values_is_flat_and_of_none_is_empty():
    assert (sparkline([5, 5], 10), sparkline([], 10)) == ("▄▄", "")


def test_only_newer_readings_extend_the_history():
    board = Board()
    board.take_latest([reading(1, 20.0)])
    board.take_latest([reading(1, 20.0)])
    board.take_latest([reading(1, 21.0, at=NOON + timedelta(seconds=1))])

    assert list(board.lines[1, 1].history) == [20.0, 21.0]


def test_the_table_shows_value_and_unit_of_measuring_devices_before_switches_and_texts():
    board = Board(devices={1: device(1, "a-reader"), 2: device(2, "z-climate")})
    board.take_latest([reading(1, None, text="0042", unit=None), reading(2, 21.5)])

    text = picture(board)
    assert "21.5 °C" in text
    assert "“0042”" in text
    assert text.index("z-climate") < text.index("a-reader")


def test_a_low_terminal_shows_what_fits_and_says_how_many_are_hidden():
    board = Board(devices={number: device(number, f"d{number}") for number in range(30)})
    board.take_latest([reading(number, 1.0) for number in range(30)])

    text = picture(board, height=15)
    assert "and 22 more" in text
    assert len(text.splitlines()) <= 15


def test_what_the_agent_runs_has_a_line_of_its_own_and_the_table_still_fits():
    board = Board(devices={number: device(number, f"d{number}") for number in range(30)})
    board.take_latest([reading(number, 1.0) for number in range(30)])
    board.agent = "docker: hello running"

    text = picture(board, height=15)
    assert "agent on docker: hello running" in text
    assert len(text.splitlines()) <= 15


def test_80_columns_are_enough_to_tell_the_sensors_of_a_controller_apart():
    names = [f"F2 aabbccddee01 J3/sensor-{number}" for number in range(1, 4)]
    board = Board(devices={number: device(number, name) for number, name in enumerate(names)})
    board.take_latest([reading(number, 21.5) for number in range(3)])

    text = picture(board, width=80)
    assert [name for name in names if name in text] == names
    assert max(len(line) for line in text.splitlines()) <= 80


def test_rates_are_means_over_seconds_so_that_a_fleet_of_slow_devices_is_not_shown_idle():
    board = Board()
    for rate in (25.0, 0.0, 0.0, 0.0, 0.0):
        board.take_stats(stats(messages_per_s=rate))

    assert "5.0 messages/s" in picture(board)


def test_devices_without_a_reading_are_waited_for_and_without_devices_the_simulator_is_named():
    waiting, empty = Board(), Board()
    waiting.take_stats(stats(devices=18))
    empty.take_stats(stats(devices=0))

    assert "waiting for a reading of 18 devices" in picture(waiting)
    assert "iotistic simulate f2" in picture(empty)


def test_no_line_is_wider_than_the_terminal():
    board = Board(devices={1: device(1, "n" * 300)}, trouble="t" * 300)
    board.take_latest([reading(1, 1e300)])

    assert max(len(line) for line in picture(board, width=60).splitlines()) <= 60


def test_a_chart_spans_from_the_least_to_the_greatest_value_and_names_the_times():
    bars = [Bar(NOON, 1, 1), Bar(NOON + timedelta(hours=1), 9, 9)]

    lines = chart(
        bars, bucket=timedelta(minutes=1), start=NOON, end=NOON + timedelta(hours=2), width=40, height=4
    )

    assert lines[0].startswith("       9 │")
    assert lines[3].startswith("       1 │ █")
    assert "01-31 12:00" in lines[4]


def test_a_flat_series_has_a_chart_too():
    lines = chart([Bar(NOON, 5, 5)], bucket=timedelta(0), start=NOON, end=NOON, width=40, height=4)

    assert sum("█" in line for line in lines) == 1
