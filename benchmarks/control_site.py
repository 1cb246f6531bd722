"""An installation's API with devices that registered, for the benchmarks of the control plane.

with control_site(devices=1000) as site:
    site.port, site.devices[0].get("/api/v1/...")
"""

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.installation import Installation, installation
from iotistic.control.devices.keys import digest_of, make_api_key, prefix_of
from iotistic.control.states.model import Target, make_target
from iotistic.kernel.postgres.pool import open_connection
from iotistic.kernel.process import die_with_parent, pick_port
from iotistic.pki.keystore import open_authority
from iotistic.pki.settings import AuthoritySettings

BASE = "/api/v1"
_FLEET = "bench"
_APP = {
    "appId": 1,
    "appName": "shop",
    "services": [{"serviceId": 1, "serviceName": "web", "imageName": "web:1"}],
}


@dataclass(frozen=True)
class BenchDevice:
    """A device that is known: its key, and the name of the target that it has."""

    uuid: str
    api_key: str
    etag: str

    def poll(self, etag: str | None = None) -> bytes:
        """Return the request of a poll as agents send it."""
        named = {"If-None-Match": f'"{etag or self.etag}"'}
        return self._request("GET", f"{BASE}/device/{self.uuid}/state", named)

    def report(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the request of a report."""
        return self._request("PATCH", f"{BASE}/device/state", headers, body)

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        own = {"Host": "127.0.0.1", "Accept-Encoding": "gzip", "X-Device-API-Key": self.api_key}
        return raw_request(method, path, {**own, **headers}, body)


def raw_request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


class ControlSite:
    """The API of a throwaway installation."""

    def __init__(self, site: Installation, devices: int, **settings: str) -> None:
        self.site = site
        open_authority(site.home, AuthoritySettings())
        self.devices = [make_device() for _ in range(devices)]
        site.run(self._fill())
        self.port = int(site.start_api(**settings).rpartition(":")[2])
        self.api_pid, self.postgres_pid = site.pids["api"], site.pids["postgres"]
        self.token = site.home.api_token.read_text(encoding="utf-8").strip()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = "") -> Any:
        """Ask as the operator, or with a token, and return the answer's JSON. Raises RuntimeError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        connection.request(method, BASE + path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content) if content else None

    async def _fill(self) -> None:
        connection = await open_connection(self.site.dsn, application_name="bench-control")
        try:
            await fill(connection, self.devices)
        finally:
            await connection.close()


def make_device() -> BenchDevice:
    """Return a device whose target is `target()`."""
    return BenchDevice(str(uuid.uuid4()), make_api_key(), target().etag)


def target() -> Target:
    """Return what every device is to be."""
    content = {"apps": {"1": _APP}, "config": {}}
    return make_target(content, version=3, at=datetime(2026, 1, 1, tzinfo=UTC), by="bench")


async def fill(db: asyncpg.Connection, devices: Sequence[BenchDevice]) -> None:
    """Let devices be known, each with its key and its target."""
    uuids, digests = [one.uuid for one in devices], [digest_of(one.api_key) for one in devices]
    await db.execute(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id) "
        "SELECT u, 'press', 'gateway', $2 FROM unnest($1::uuid[]) u",
        uuids,
        _FLEET,
    )
    await db.execute(
        "INSERT INTO device_api_keys (device_uuid, prefix, digest, origin, created_at) "
        "SELECT u, p, d, 'device', now() FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) t (u, p, d)",
        uuids,
        [prefix_of(digest) for digest in digests],
        digests,
    )
    await db.execute(
        "INSERT INTO device_targets (device_uuid, version, document, etag, deployed_at, deployed_by) "
        "SELECT u, $2, $3, $4, now(), 'bench' FROM unnest($1::uuid[]) u",
        uuids,
        target().version,
        target().document,
        target().etag,
    )
    await db.execute("ANALYZE")


@contextmanager
def control_site(*, devices: int, **settings: str) -> Iterator[ControlSite]:
    """Bring up an installation with an API, with these settings, and that many known devices; remove it at the end."""
    with installation(workers=0) as site:
        yield ControlSite(site, devices, **settings)


@contextmanager
def bare_server(kind: str) -> Iterator[int]:
    """Run a framework's own server and give its port."""
    port = pick_port(0)
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.http_bare", kind, str(port)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - the child only sets signals before it starts anew
    )
    try:
        deadline = time.monotonic() + 30
        while not _listens(port) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield port
    finally:
        child.kill()
        child.wait()


def _listens(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", f"{BASE}/device/x/state")
        connection.getresponse().read()
        connection.close()
    except OSError:
        return False
    return True


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of the children that it still has, in seconds."""
    total, todo = 0, [pid]
    for one in todo:
        try:
            fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            todo += map(int, Path(f"/proc/{one}/task/{one}/children").read_text(encoding="ascii").split())
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
