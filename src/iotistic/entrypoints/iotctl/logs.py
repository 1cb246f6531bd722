"""`iotctl logs`."""

import json as jsonlib
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import Follow, Lines
from iotistic.entrypoints.iotctl.client import DeviceApiClient, Document, ask, with_agent

app = App(name="logs", help="Show what containers and the agent printed.", help_format="plaintext")

_MS = 1000


@app.default
def logs(
    *,
    follow: Follow = False,
    lines: Lines = 100,
    service: Annotated[str | None, Parameter(help="Only of the service of this name.")] = None,
    json: AsJson = False,
) -> None:
    """Show the last lines of all containers and of the agent; with --json one object a line."""
    show_logs("/v2/logs", lines=lines, follow=follow, json=json, **({"service": service} if service else {}))


def show_logs(path: str, *, lines: int, follow: bool, json: bool, **params: str) -> None:
    """Print log lines, until the agent ends them or Ctrl-C."""
    asked: dict[str, str | int] = {"lines": lines, **params}
    if not follow:
        for line in ask("GET", path, params=asked)["logs"]:
            _print(line, json=json)
        return

    async def stream(client: DeviceApiClient) -> None:
        async for line in client.lines(path, {**asked, "follow": "true"}):
            _print(line, json=json)
            sys.stdout.flush()

    with_agent(stream)


def _print(line: Document, *, json: bool) -> None:
    text = jsonlib.dumps(line, ensure_ascii=False) if json else _told(line)
    sys.stdout.write(text + "\n")


def _told(line: Mapping[str, Any]) -> str:
    at = line.get("timestamp")
    time = datetime.fromtimestamp(at / _MS, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "-"
    source: Mapping[str, Any] = line.get("source") or {}
    of = line.get("serviceName") or source.get("name") or source.get("type") or "agent"
    level = str(line.get("level") or "info").upper()
    return f"{time} [{level}] {of}: {_printable(str(line.get('message', '')))}"


def _printable(text: str) -> str:
    """Return a line that cannot steer the terminal it is shown on."""
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in text)
