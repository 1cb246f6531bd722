"""The page of one series: all of it, its labelled windows, its events, and each of both from near."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.detection_html import figure, html, table
from benchmarks.detection_plots import Part, near, parts, when, whole
from benchmarks.detection_story import Story
from benchmarks.plots import short

LEGEND = (
    '<p class="legend"><b class="key window"></b> labelled window, found <b class="key window missed"></b> labelled '
    'window, missed <b class="key warming"></b> not scored <span class="right">▲</span> alert in a window '
    '<span class="wrong">✕</span> false alert <span class="unscored">▲</span> alert that is not scored '
    '<b class="key expected"></b> expected range. Rest the pointer on a mark to read it. Times are UTC.</p>'
)


def page_of(number: int) -> str:
    """Return the file of the page of a series, by its place."""
    return f"series-{number + 1:03d}.html"


def series_page(number: int, told: Sequence[Story], threshold: float, raw_threshold: float) -> str:
    """Return the page of a series, by its place among all."""
    story = told[number]
    some, more = parts(story)
    body = [
        f'<p><a href="index.html">All series</a>{_beside(number, len(told))}</p>',
        f"<h1>{escape(story.name)}</h1>",
        f"<p>{_told(story)}</p>",
        LEGEND,
        whole(story, threshold, raw_threshold),
        "<h2>Labelled windows</h2>",
        _windows(story),
        "<h2>Events</h2>",
        _events(story, some),
        "<h2>From near</h2>" if some else "",
        *(
            f'<figure id="near-{place}"><figcaption>rows {part[0]:,} to {part[1]:,}</figcaption>'
            f"{near(story, part, threshold, raw_threshold)}</figure>"
            for place, part in enumerate(some, 1)
        ),
        f"<p>{more} more plots are left out.</p>" if more else "",
    ]
    return html(story.name, body)


def _beside(number: int, count: int) -> str:
    before = f' · <a href="{page_of(number - 1)}">before</a>' if number else ""
    return before + (f' · <a href="{page_of(number + 1)}">next</a>' if number + 1 < count else "")


def _told(story: Story) -> str:
    figures, rows = story.figures, len(story.values)
    told = f"{rows:,} rows from {when(story, 0)} to {when(story, rows - 1)}."
    if not math.isnan(figures.nab):
        told += (
            f" NAB {figures.nab:.1f}, event F1 {figures.event_f1:.2f}, VUS-PR {figure(figures.vus_pr, 3)}."
        )
    return f"{told} False alerts: {figures.false_alerts}. Points lost of all 100: {figure(figures.lost, 2)}."


def _windows(story: Story) -> str:
    if not story.windows:
        return "<p>None: whatever is told here is false.</p>"
    rows = [
        (
            str(number),
            f"{one.first:,} to {one.last:,}",
            f"{when(story, one.first)} to {when(story, one.last)}",
            _found(story, one.found) if one.is_scored else "in the warm-up, not scored",
        )
        for number, one in enumerate(story.windows, 1)
    ]
    return table(("window", "rows", "time", "first alert"), rows)


def _found(story: Story, row: int | None) -> str:
    return '<b class="wrong">missed</b>' if row is None else f"row {row:,}, {when(story, row)}"


def _events(story: Story, shown: Sequence[Part]) -> str:
    if not story.events:
        return "<p>Nothing was told.</p>"
    head = (
        "row",
        "time",
        "value",
        "expected",
        "method",
        "deviation",
        "severity",
        "confidence",
        "trend",
        "score",
        "",
    )
    rows = [
        (
            _link(one.row, shown),
            when(story, one.row),
            short(one.event.value),
            f"{short(one.event.expected_low)} to {short(one.event.expected_high)}",
            one.event.method.value,
            short(one.event.deviation),
            f'<span class="{one.event.severity.value}">{one.event.severity.value}</span>',
            f"{one.event.confidence:.2f}",
            one.event.trend.value,
            f"{one.event.score:.1f}",
            _place(one.window, is_scored=one.is_scored),
        )
        for one in story.events
    ]
    return "<p><i>Score</i> is in thresholds.</p>" + table(head, rows, "figures")


def _link(row: int, shown: Sequence[Part]) -> str:
    """Return a row's number, as a link to the plot from near that shows it."""
    place = next((i for i, (first, last) in enumerate(shown, 1) if first <= row <= last), None)
    return f"{row:,}" if place is None else f'<a href="#near-{place}">{row:,}</a>'


def _place(window: int | None, *, is_scored: bool) -> str:
    told = (
        '<span class="wrong">false</span>'
        if window is None
        else f'<span class="right">window {window + 1}</span>'
    )
    return told if is_scored else '<span class="unscored">not scored</span>'
