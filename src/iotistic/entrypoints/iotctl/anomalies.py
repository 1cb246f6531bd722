"""`iotctl anomalies`."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import Follow, Lines
from iotistic.entrypoints.iotctl.client import DeviceApiClient, Document, ask, part, with_agent
from iotistic.entrypoints.iotctl.logs import as_json, printable
from iotistic.entrypoints.output import emit

app = App(
    name="anomalies", help="Show what is unusual on this device, and judge it.", help_format="plaintext"
)

_METRIC_COLUMNS = ("metric", "status", "value", "expected", "unit", "unusual", "samples", "feedback")
_FIELDS = ("id", "metric", "severity", "value", "unit", "expected", "baseline", "trend", "method", "deviation",
           "confidence", "first", "last", "count", "recent", "feedback")  # fmt: skip


@app.default
@app.command(name="list")
def list_anomalies(*, follow: Follow = False, lines: Lines = 20, json: AsJson = False) -> None:
    """List the last anomalies, the newest last; -f goes on with those that come, with --json one object a line."""
    if not follow:
        found = ask("GET", "/v2/anomalies", params={"lines": lines})
        _tell_refusal(found["watch"])
        if json:
            emit(found["anomalies"], json=True)
            return
        empty = "no anomalies" if found["watch"]["state"] == "on" else "no anomalies: detection is off"
        emit([_row(one) for one in found["anomalies"]], json=False, empty=empty)
        return

    async def stream(client: DeviceApiClient) -> None:
        async for one in client.lines("/v2/anomalies", {"lines": lines, "follow": "true"}):
            sys.stdout.write((as_json(one) if json else _told(one)) + "\n")
            sys.stdout.flush()

    with_agent(stream)


@app.command
def show(name: str, /, *, json: AsJson = False) -> None:
    """Show an anomaly.

    Parameters
    ----------
    name
        Its id, or how that begins.
    """
    found = ask("GET", f"/v2/anomalies/{part(name)}")
    emit(found if json else {field: _fields(found)[field] for field in _FIELDS}, json=json)


@app.command
def metrics(*, json: AsJson = False) -> None:
    """Show how each metric stands: learning, watching or off."""
    found = ask("GET", "/v2/anomalies/metrics")
    _tell_refusal(found["watch"])
    if json:
        emit(found, json=True)
        return
    rows = [{**one, "expected": _range(one), "feedback": len(one["feedback"])} for one in found["metrics"]]
    empty = "nothing was measured yet" if found["watch"]["state"] == "on" else "detection is off"
    emit(rows, json=False, columns=_METRIC_COLUMNS, empty=empty)


@app.command
def feedback(
    name: str,
    verdict: Annotated[Literal["expected", "wrong"], Parameter(help="What it was.")],
    /,
    *,
    json: AsJson = False,
) -> None:
    """Say that an anomaly was expected, or none at all: the metric tells less of the like.

    Parameters
    ----------
    name
        Its id, or how that begins.
    verdict
        expected: values like this one are usual from now on. wrong: the metric is told of too easily.
    """
    found = ask("POST", f"/v2/anomalies/{part(name)}/feedback", body={"verdict": verdict})["anomaly"]
    emit(
        found if json else f"{found['id']} is {verdict}: {found['metric']} tells less of the like", json=json
    )


def _tell_refusal(watch: Document) -> None:
    """Say beside the answer that a forecaster which the cloud wishes is not in force."""
    reason = watch.get("forecaster_reason")
    if reason:
        sys.stderr.write(f"without forecasts: {printable(reason)} [{printable(watch['forecaster'])}]\n")


def _row(one: Document) -> Document:
    fields = _fields(one)
    names = ("id", "first", "severity", "metric", "value", "expected", "method", "count", "feedback")
    return {name: fields[name] for name in names}


def _fields(one: Document) -> Document:
    context: Document = one["context"]
    return {
        "id": one["id"],
        "first": one["timestamp"],
        "last": one["lastSeen"],
        "severity": one["severity"],
        "metric": printable(one["metric"]),
        "value": one["value"],
        "unit": printable(one["unit"]),
        "expected": _range(one),
        "method": one["detectionMethod"],
        "deviation": one["deviation"],
        "confidence": one["confidence"],
        "baseline": context["baseline"],
        "trend": context["trend"],
        "recent": context["recent_values"],
        "count": one["count"],
        "feedback": one.get("feedback"),
    }


def _range(one: Document) -> str | None:
    given = one.get("expectedRange")
    return f"{given[0]:g} to {given[1]:g}" if given else None


def _told(one: Document) -> str:
    fields = _fields(one)
    said = f", {fields['feedback']}" if fields["feedback"] else ""
    return (
        f"{fields['last']} [{str(fields['severity']).upper()}] {fields['metric']}: {fields['value']:g} "
        f"{fields['unit']} (expected {fields['expected']}, {fields['method']}, {fields['id']}{said})"
    )
