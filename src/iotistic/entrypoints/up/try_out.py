"""The app that the agent beside an installation keeps running: a target to look at, and to change."""

import json
from pathlib import Path

from iotistic.agent.local_api.address import PORT
from iotistic.kernel.files import write_atomic
from iotistic.kernel.home import Home

SCOPE = "try"
"""Sets its containers apart from those of a real agent on the same Docker."""
_TARGET = {
    "apps": {
        "try": {
            "appId": "try",
            "appName": "try",
            "services": [
                {
                    "serviceId": 1,
                    "serviceName": "hello",
                    "config": {
                        "image": "busybox:stable",
                        "command": ["sh", "-c", "while :; do date; sleep 10; done"],
                        "volumes": ["data:/data"],
                        "stopTimeoutSeconds": 1,
                    },
                }
            ],
        }
    }
}


def folder(home: Home) -> Path:
    """Return where the agent keeps what it knows."""
    return home.path / "agent"


def ensure_target(home: Home) -> Path:
    """Return the file with the target; the first time it is written, later it is whatever people made of it."""
    path = folder(home) / "target.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, json.dumps(_TARGET, indent=2) + "\n")
    return path


def introduction(home: Home, port: int) -> str:
    """Return how a person gets to know the agent whose device API is on `port`."""
    other = "" if port == PORT else f"DEVICE_API_PORT={port} "
    return (
        f"the agent keeps running what {folder(home) / 'target.json'} says; look at it: {other}iotctl status"
    )
