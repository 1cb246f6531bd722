"""`iotistic query`."""

import shutil
import sys
from datetime import timedelta
from typing import Annotated

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson, device_path
from iotistic.entrypoints.installation import connect
from iotistic.entrypoints.live.chart import Bar, chart, plot_width
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid
from iotistic.telemetry.query.schemas import EventPage, Series, SeriesAnswer, TextEvent

app = App(name="query", help_format="plaintext")

_CHART_LINES = 14
_EVENT_COLUMNS = ("timestamp", "value")


class FormatsExclusive(Invalid):
    """Choose one of --csv and --json."""

    code = "query.formats_exclusive"


@app.default
def query(
    device: str,
    datapoint: str,
    *,
    start: Annotated[str, Parameter(name=["--from"], allow_leading_hyphen=True)] = "-24h",
    end: Annotated[str, Parameter(name=["--to"], allow_leading_hyphen=True)] = "now",
    points: int = 500,
    csv: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
) -> None:
    """Show one series as a chart, texts such as cards as a list; --csv and --json give the buckets.

    --json has the texts too, as `events`, newest first.

    Parameters
    ----------
    device
        Id, MAC, uuid, external key, or a name that only one device has.
    datapoint
        Label or id of the datapoint.
    start
        First instant: an age such as -15m, -24h, -7d, or an ISO 8601 time.
    end
        First instant after: `now`, an age, or an ISO 8601 time.
    points
        Most buckets.
    csv
        Print CSV: time, datapoint, least, greatest, count.
    """
    if csv and json:
        raise FormatsExclusive
    path = device_path(device)
    width = shutil.get_terminal_size((100, 24)).columns
    # A bucket that is narrower than a column would leave gaps in the chart.
    most = points if csv or json else min(points, plot_width(width))
    between = {"datapoint": datapoint, "from": start, "to": end}
    api = connect()
    if csv:
        asked = {**between, "points": most, "format": "csv"}
        sys.stdout.write(api.request("GET", f"{path}/series", params=asked).text)
        return
    answer = api.get(f"{path}/series", SeriesAnswer, **between, points=most)
    events = api.get(f"{path}/events", EventPage, **between, limit=points).items
    if json:
        emit({**answer.model_dump(), "events": events}, json=True)
    else:
        _show(answer, events, width=width)


def _show(answer: SeriesAnswer, events: list[TextEvent], *, width: int) -> None:
    for series in answer.series:
        if series.buckets or not events:
            _draw(answer, series, width=width)
    if events:
        emit(events, json=False, columns=_EVENT_COLUMNS)


def _draw(answer: SeriesAnswer, series: Series, *, width: int) -> None:
    bars = [
        Bar(bucket.time, bucket.min, bucket.max)
        for bucket in series.buckets
        if bucket.min is not None and bucket.max is not None
    ]
    unit = f" in {series.unit}" if series.unit else ""
    count = sum(bucket.count for bucket in series.buckets)
    sys.stdout.write(f"{series.label}{unit}: {count:,} readings in buckets of {answer.bucket_s:g} s\n")
    if not bars:
        sys.stdout.write("no readings in this range\n")
        return
    lines = chart(
        bars,
        bucket=timedelta(seconds=answer.bucket_s),
        start=answer.start,
        end=answer.end,
        width=width,
        height=_CHART_LINES,
    )
    sys.stdout.write("\n".join(lines) + "\n")
