"""Pages that show what the detector saw: an index, and a page for each series. They need nothing else.

Names of series are foreign: they are escaped, and no file is named after one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from benchmarks.detection_compare import Standing, lines
from benchmarks.detection_html import NONE, figure, html, table
from benchmarks.detection_plateau_plots import drawing
from benchmarks.detection_plateaus import Plateau
from benchmarks.detection_plots import spark
from benchmarks.detection_series_page import page_of, series_page
from benchmarks.detection_story import Story
from benchmarks.framework import Result


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to show. `missing` says why there are no series."""

    thresholds: tuple[float, float]
    figures: Sequence[Result] = ()
    stories: Sequence[Story] = ()
    standings: Sequence[Standing] = ()
    plateaus: Sequence[Plateau] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    missing: str = ""


def write(folder: Path, material: Material) -> int:
    """Write the pages into a folder, which is made; return their size in bytes. Older pages there go."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("series-*.html"):
        old.unlink()
    texts = {"index.html": _index(material)}
    texts |= {
        page_of(number): series_page(number, material.stories, *material.thresholds)
        for number in range(len(material.stories))
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sum(len(text.encode()) for text in texts.values())


def _index(material: Material) -> str:
    threshold, raw_threshold = material.thresholds
    body = [
        "<h1>What the anomaly detector saw</h1>",
        f"<p>One set of constants, one value at a time; thresholds {threshold:g} (alert) and {raw_threshold:g} (raw).</p>",
    ]
    if material.missing:
        body.append(f'<p class="missing"><b>There are no series to show.</b> {escape(material.missing)}</p>')
    body += [f"<p>{escape(note)}</p>" for note in material.notes]
    if material.stories:
        body += ["<h2>Series</h2>", _series(material.stories)]
    if material.standings:
        body += ["<h2>Beside others</h2>", _standings(material.standings)]
    if material.plateaus:
        body += ["<h2>Plateaus</h2>", drawing(material.plateaus)]
    if material.figures:
        body += ["<h2>All figures of this run</h2>", _results(material.figures)]
    return html("Anomaly detection: what it saw", body)


def _series(stories: Sequence[Story]) -> str:
    order = sorted(range(len(stories)), key=lambda i: -_or_zero(stories[i].figures.lost))
    rows = [_row(number, stories[number]) for number in order]
    head = (
        "series",
        "",
        "rows",
        "windows found",
        "NAB",
        "points lost",
        "event F1",
        "VUS-PR",
        "alerts",
        "false",
    )
    lost = sum(_or_zero(one.figures.lost) for one in stories)
    about = (
        f"<p>Where most is lost comes first. <i>Points lost</i>: of the 100 of all series together, in all {lost:.1f}. A window that is "
        "found late loses points too. A dash: a series without labels.</p>"
    )
    return about + table(head, rows, "figures")


def _row(number: int, story: Story) -> list[str]:
    scored = [one for one in story.windows if one.is_scored]
    found = sum(one.found is not None for one in scored)
    figures = story.figures
    return [
        f'<a href="{page_of(number)}">{escape(story.name)}</a>',
        spark(story.values.tolist()),
        f"{len(story.values):,}",
        f"{found} of {len(scored)}" if scored else NONE,
        figure(figures.nab, 1),
        figure(figures.lost, 2),
        figure(figures.event_f1, 2),
        figure(figures.vus_pr, 3),
        str(sum(one.is_scored for one in story.events)),
        str(figures.false_alerts),
    ]


def _standings(standings: Sequence[Standing]) -> str:
    head = ("detector", "NAB", "halves, mean ± spread", "event F1", "VUS-PR", "µs a sample")
    rows = [[escape(cell) for cell in row] for row in lines(list(standings))]
    about = (
        "<p>Each with the thresholds that are best for it on these series. <i>Halves</i>: NAB on one half with the "
        "threshold of the other, over 24 random splits. <i>Muted</i>: after an alert only a higher score counts for a "
        "while, as in ours.</p>"
    )
    return about + table(head, rows, "figures")


def _results(figures: Sequence[Result]) -> str:
    rows = [
        (
            escape(one.name),
            figure(one.value, 3),
            escape(one.unit),
            "" if one.reference is None else figure(one.reference, 3),
            escape(one.goal or ""),
            {True: "yes", False: "no", None: ""}[one.met],
        )
        for one in figures
    ]
    return table(("name", "value", "unit", "reference", "goal", "met"), rows, "figures results")


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
