"""Draws the board: counters, one row per device with as many last values as fit, health below."""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean

from rich.console import Group
from rich.table import Table
from rich.text import Text

from iotistic.entrypoints.live.board import Board, Line, sparkline
from iotistic.telemetry.query.schemas import DeviceSummary

_LONGEST_NAME = 34
_CELL_WIDTH = 34
_AGE_WIDTH = 7
_SPARK_WIDTH = 10
_FRAME_LINES = 7
Row = tuple[DeviceSummary, list[Line]]
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def draw(board: Board, *, width: int, height: int, docs: str, now: datetime | None = None) -> Group:
    """Return the board as it fits into `width` columns and `height` lines."""
    rows = board.rows()
    shown = _sample(rows, max(1, height - _FRAME_LINES - bool(board.agent)))
    longest = max((len(device.name) for device, _ in shown), default=0)
    beside_one_value = width - _CELL_WIDTH - _AGE_WIDTH - 2
    name_width = max(len("device"), min(longest, _LONGEST_NAME, max(beside_one_value, width // 3)))
    cells = max(1, (width - name_width - _AGE_WIDTH - 2) // (_CELL_WIDTH + 1))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=True, header_style="bold")
    table.add_column("device", width=name_width, no_wrap=True, overflow="ellipsis")
    for number in range(cells):
        table.add_column("last values" if number == 0 else "", width=_CELL_WIDTH, no_wrap=True)
    table.add_column("age", width=_AGE_WIDTH, no_wrap=True, justify="right")
    moment = now or datetime.now(UTC)
    for device, lines in shown:
        newest = max(line.timestamp for line in lines)
        drawn = [_cell(line) for line in lines[:cells]]
        table.add_row(device.name, *drawn, *[Text()] * (cells - len(drawn)), _age(moment, newest))
    hidden = len(rows) - len(shown)
    more = Text(f"… and {hidden} more; see `iotistic devices`" if hidden else "", style="dim")
    return Group(_counters(board), Text(), table if rows else _waiting(board), more, *_footer(board, docs))


def _sample(rows: Sequence[Row], count: int) -> Sequence[Row]:
    """Return `count` rows spread evenly over all of them: a look at every part of a fleet."""
    if len(rows) <= count:
        return rows
    return [rows[number * len(rows) // count] for number in range(count)]


def _counters(board: Board) -> Text:
    stats = board.stats
    if stats is None:
        return Text("connecting to the API …", style="dim")
    text = Text(no_wrap=True, overflow="ellipsis")
    about = "~" if stats.rows_stored_is_estimate else ""
    for number, what in (
        (f"{stats.devices:,}", "devices"),
        (f"{fmean(board.messages_per_s):,.1f}", "messages/s"),
        (f"{fmean(board.rows_per_s):,.1f}", "rows/s"),
        (f"{about}{stats.rows_stored:,}", "rows stored"),
    ):
        text.append(number, style="bold cyan").append(f" {what}   ")
    least = "at least " if stats.dead_letters_open_is_least else ""
    style = "bold yellow" if stats.dead_letters_open else "bold cyan"
    return text.append(f"{least}{stats.dead_letters_open:,}", style=style).append(" dead letters")


def _waiting(board: Board) -> Text:
    if board.stats is None:
        return Text()
    known = board.stats.devices
    said = (
        f"waiting for a reading of {known} devices" if known else "no devices yet; try `iotistic simulate f2`"
    )
    return Text(said, style="dim")


def _cell(line: Line) -> Text:
    bars = sparkline(line.history, _SPARK_WIDTH)
    room = _CELL_WIDTH - _SPARK_WIDTH - 2
    value = line.shown()
    label = line.label[: max(4, room - len(value) - 1)]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(label, style="dim").append(" ").append(value, style="bold")
    text.pad_right(max(0, room - len(text)))
    return text.append(" ").append(bars, style="green")


def _footer(board: Board, docs: str) -> Sequence[Text]:
    health = Text(no_wrap=True, overflow="ellipsis")
    for name, ready in sorted(board.health.items()):
        health.append("● ", style="green" if ready else "red").append(f"{name}  ")
    reasons = Text(no_wrap=True, overflow="ellipsis", style="yellow")
    if board.dead_letters:
        listed = sorted(board.dead_letters.items(), key=lambda item: -item[1])
        reasons.append("dead letters: " + ", ".join(f"{reason} {count:,}" for reason, count in listed))
    agent = Text(f"agent on {board.agent}" if board.agent else "", no_wrap=True, overflow="ellipsis")
    last = (
        Text(board.trouble, style="red") if board.trouble else Text(f"API: {docs}   Ctrl-C ends", style="dim")
    )
    return [reasons, *([agent] if board.agent else []), health, last]


def _age(now: datetime, then: datetime) -> str:
    seconds = (now - then).total_seconds()
    if seconds < 0:
        return "ahead"
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
