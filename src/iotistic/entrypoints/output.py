"""What commands print: tables for people, JSON for programs; one function for both.

JSON keys are snake_case and times ISO 8601 in UTC with Z, as everywhere.
"""

import dataclasses
import json as jsonlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import cast

from pydantic import BaseModel

# A table that is not read on a terminal is never folded: programs such as grep want whole lines.
_UNFOLDED = 4000


def emit(value: object, *, json: bool, columns: Sequence[str] = (), empty: str = "nothing to show") -> None:
    """Print `value` on standard output.

    With `json`, one JSON document. Otherwise a sequence of mappings (or dataclasses) becomes a table of
    `columns` (default: the keys of the first row), a mapping becomes a list of fields, and anything else
    its text. `empty` is said for an empty sequence.
    """
    plain = to_plain(value)
    if json:
        sys.stdout.write(
            jsonlib.dumps(plain, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n"
        )
    elif isinstance(plain, list):
        _print_table(cast("list[dict[str, object]]", plain), columns, empty)
    elif isinstance(plain, dict):
        fields = cast("dict[str, object]", plain)
        _print_fields({key: fields.get(key) for key in columns or fields})
    else:
        sys.stdout.write(f"{plain}\n")


def to_plain(value: object) -> object:
    """Turn dataclasses, times, paths and enums into what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return to_plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in cast("Iterable[object]", value)]
    return _plain_scalar(value)


def _plain_scalar(value: object) -> object:
    if isinstance(value, datetime):
        return iso_utc(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    return str(value)


def iso_utc(moment: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str], empty: str) -> None:
    from rich.console import Console  # noqa: PLC0415  100 ms that --json is spared
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        sys.stdout.write(empty + "\n")
        return
    names = list(columns or rows[0])
    table = Table(box=None, pad_edge=False, header_style="bold")
    widths = {name: max(len(name), *(len(_cell(row.get(name))) for row in rows)) for name in names}
    widest = max(names, key=lambda name: widths[name])
    for name in names:
        numeric = all(isinstance(row.get(name), int | float) for row in rows)
        # Where a terminal is too narrow the longest texts are folded; everything else stays readable beside them.
        table.add_column(
            name.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=name != widest,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_UNFOLDED)
    console.print(table)


def _print_fields(fields: Mapping[str, object]) -> None:
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        sys.stdout.write(f"{name.replace('_', ' '):<{width}}  {_cell(value)}\n")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        return jsonlib.dumps(value, ensure_ascii=False)
    return str(value)
