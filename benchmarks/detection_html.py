"""What the pages of the detection benchmark are made of: a page with its style, tables, figures.

Nothing is fetched from anywhere: a page is one file.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = (Path(__file__).parent / "detection_pages.css").read_text(encoding="utf-8")
NONE = "-"


def html(title: str, body: Iterable[str]) -> str:
    """Return a whole page; the title is text, the body is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    """Return a table; cells are HTML, headings are text."""
    heads = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{style}"><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>'


def figure(value: float, digits: int) -> str:
    """Return a figure, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else NONE
