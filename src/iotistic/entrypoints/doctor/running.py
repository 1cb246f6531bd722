"""Checks of what runs: ports, API, broker and its TLS, database and its schema, certificates."""

import asyncio
import email.utils
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from cryptography import x509

import iotistic
from iotistic.entrypoints.doctor.broker import broker_finding
from iotistic.entrypoints.doctor.check import Finding, failed, ok, skipped, warning
from iotistic.entrypoints.installation import Endpoints, NotRunning, running_endpoints
from iotistic.entrypoints.up.memory import recall
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.home import Home
from iotistic.kernel.migrations import runner
from iotistic.kernel.migrations.runner import MigrationState
from iotistic.kernel.postgres.claim import running_dsn
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.kernel.postgres.pool import open_connection
from iotistic.telemetry.storage.store import ReadingsStore, StoreKind, read_store

_MIGRATIONS = Path(iotistic.__file__).parent / "migrations"
_TIMEOUT_S = 3.0
_CLOCK_TOLERANCE_S = 5.0
_SOON = timedelta(days=30)
_DOES_NOT_RUN = "the installation does not run"


def running_findings(settings: UpSettings) -> Iterator[Finding]:
    """Look at the installation of `settings`; what needs it running is skipped when it does not."""
    home = settings.home
    try:
        endpoints = running_endpoints(home)
    except NotRunning:
        yield skipped("running", f"{_DOES_NOT_RUN}; start it with `iotistic up`")
        yield from _ports(settings)
        endpoints = None
    if endpoints is not None:
        yield ok("running", f"in {endpoints.home}")
        yield from _processes(endpoints)
        yield _api_clock(endpoints)
        yield broker_finding(endpoints, settings)
    yield from asyncio.run(_database(settings))
    yield from _certificates(home)


def _ports(settings: UpSettings) -> Iterator[Finding]:
    remembered = recall(settings.home).ports
    for name in ("api", "pki", "mqtt"):
        port = remembered.get(name) or int(getattr(settings, f"{name}_port"))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                fix = f"free it, or let `iotistic up` choose another; {name.upper()}_PORT sets one"
                yield warning(f"port {name}", f"{port}: {exc.strerror}", fix)
                continue
        yield ok(f"port {name}", f"{port} is free")


def _processes(endpoints: Endpoints) -> Iterator[Finding]:
    with httpx2.Client(timeout=_TIMEOUT_S, verify=False) as client:
        for name, url in endpoints.health.items():
            fix = f"see {endpoints.home}/logs/{name}.log"
            try:
                answer = client.get(url)
            except httpx2.TransportError as exc:
                yield failed(name, f"does not answer: {exc}", fix)
                continue
            yield ok(name, "ready") if answer.is_success else failed(name, answer.text, fix)


def _api_clock(endpoints: Endpoints) -> Finding:
    try:
        answer = httpx2.get(f"{endpoints.api}/health/live", timeout=_TIMEOUT_S)
        said = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (httpx2.TransportError, KeyError, ValueError) as exc:
        return failed("clock of the API", f"cannot be read: {exc}", f"see {endpoints.home}/logs/api.log")
    off = abs(time.time() - said)
    if off > _CLOCK_TOLERANCE_S:
        return failed("clock of the API", f"{off:.0f} s away from ours", "the clock jumped: restart, use NTP")
    return ok("clock of the API", "agrees with ours")


async def _database(settings: UpSettings) -> list[Finding]:
    dsn = settings.dsn if settings.database_url else running_dsn(settings.home)
    if dsn is None:
        return [skipped("database", _DOES_NOT_RUN)]
    try:
        return await _migrated(dsn)
    except IotisticError as exc:
        return [failed("database", exc.message, exc.hint or "see logs/postgres.log")]


async def _migrated(dsn: Dsn) -> list[Finding]:
    connection = await open_connection(dsn, application_name="iotistic doctor", timeout_s=_TIMEOUT_S)
    try:
        version = await connection.fetchval("SHOW server_version")
        found = await runner.status(connection, _MIGRATIONS)
        store = await read_store(connection)
    finally:
        await connection.close()
    changed = [one.name for one in found if one.state is MigrationState.CHANGED]
    pending = [one.name for one in found if one.state is MigrationState.PENDING]
    if changed:
        return [failed("database", f"migrations changed: {', '.join(changed)}", "see `iotistic db status`")]
    if pending:
        return [failed("database", f"{len(pending)} migrations are pending", "run `iotistic db migrate`")]
    summary = f"PostgreSQL {version} at {dsn}, {len(found)} migrations applied"
    return [ok("database", summary), store_finding(store)]


def store_finding(store: ReadingsStore) -> Finding:
    """Say where readings are kept, and what is left to do about it."""
    if store.moving:
        fix = "run `iotistic db to-hypertable` again, which goes on; --abandon undoes it"
        return warning("readings", f"{store}, and a move to a hypertable has not ended", fix)
    if store.kind is StoreKind.PLAIN and store.offered:
        offer = f"TimescaleDB {store.offered} is there: `iotistic db to-hypertable` uses it"
        return ok("readings", f"{store} ({offer})")
    return ok("readings", str(store))


def _certificates(home: Home) -> Iterator[Finding]:
    for name in ("ca", "broker", "server"):
        path = home.pki / f"{name}.crt"
        if not os.access(path, os.R_OK):
            yield skipped(f"certificate {name}", "not made yet")
            continue
        expires = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        shown = f"valid until {expires:%Y-%m-%d}"
        if expires < datetime.now(UTC):
            yield failed(f"certificate {name}", f"expired on {expires:%Y-%m-%d}", _renewal(name))
        elif expires < datetime.now(UTC) + _SOON:
            yield warning(f"certificate {name}", shown, _renewal(name))
        else:
            yield ok(f"certificate {name}", shown)


def _renewal(name: str) -> str:
    if name == "ca":
        return "make a new authority (remove pki/ in IOTISTIC_HOME); every device needs a new certificate"
    return "stop and start `iotistic up`, which renews it"
