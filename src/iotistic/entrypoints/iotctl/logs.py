"""`iotctl logs`."""

import json as jsonlib
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.iotctl.asking import Follow, Lines
from iotistic.entrypoints.iotctl.client import DeviceApiClient, Document, ask, with_agent

app = App(name="logs", help="Show what containers and the agent printed.", help_format="plaintext")

_MS, _MOST_BYTE = 1000, 0xFF
_STEERING = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, and what turns the direction of a text around; halves of a pair cannot be written at all."""


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
    sys.stdout.write((as_json(line) if json else _told(line)) + "\n")


def as_json(line: Document) -> str:
    """Return a line as JSON, with what could steer a terminal escaped."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", jsonlib.dumps(line, ensure_ascii=False))


def printable(text: str) -> str:
    """Return a text that cannot steer the terminal it is shown on; a tab stays."""
    return _STEERING.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= _MOST_BYTE else f"\\u{code:04x}"


def _told(line: Mapping[str, Any]) -> str:
    at = line.get("timestamp")
    time = datetime.fromtimestamp(at / _MS, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "-"
    source: Mapping[str, Any] = line.get("source") or {}
    of = line.get("serviceName") or source.get("name") or source.get("type") or "agent"
    level = str(line.get("level") or "info").upper()
    return printable(f"{time} [{level}] {of}: {line.get('message', '')}")
