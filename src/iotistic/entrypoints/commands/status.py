"""`iotistic status`."""

from pathlib import Path

import httpx2
from cyclopts import App

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.installation import ClientSettings, running_endpoints
from iotistic.entrypoints.output import emit
from iotistic.kernel.settings import load_settings

app = App(name="status", help_format="plaintext")

_TIMEOUT_S = 3.0


@app.default
def status(*, json: AsJson = False) -> int:
    """Say what runs, where, and whether it is healthy; exit code 1 when a process is not."""
    home = load_settings(ClientSettings).home
    endpoints = running_endpoints(home)
    with httpx2.Client(timeout=_TIMEOUT_S, verify=False) as client:
        health = {name: _health(client, url) for name, url in endpoints.health.items()}
    addresses = {
        "home": endpoints.home,
        "api": endpoints.api,
        "docs": f"{endpoints.api}/docs",
        "mqtt": endpoints.mqtt,
        "pki": endpoints.pki,
        "ca": endpoints.ca,
        "token_file": Path(home.api_token),
    }
    ready = all(said == "ready" for said in health.values())
    if json:
        emit({**addresses, "ready": ready, "processes": health}, json=True)
    else:
        emit(addresses, json=False)
        emit("", json=False)
        emit(health, json=False)
    return 0 if ready else 1


def _health(client: httpx2.Client, url: str) -> str:
    try:
        answer = client.get(url)
        if answer.is_success:
            return "ready"
        checks = answer.json().get("checks", {})
    except (httpx2.TransportError, ValueError) as exc:
        return f"does not answer: {exc}"
    return "not ready: " + "; ".join(f"{name}: {said}" for name, said in checks.items() if said != "ok")
