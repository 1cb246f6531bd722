"""Devices that register: the v2 door (envelope, signing request), then the challenge's proof. One API process.

Each comes from an address of its own (127.0.0.0/8), since registrations of one address are braked. Their keys and
envelopes are made beforehand: that work is the devices'. Counted is who was proven, has a certificate and may poll.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.control_site import BASE, ControlSite, control_site, cpu_seconds, make_device, raw_request
from benchmarks.framework import Report, at_least, at_most, percentile
from iotistic.contracts.provisioning import envelope, keys, requests

_AT_ONCE = 16
_ADDRESSES = 250


class RegistrationFailed(RuntimeError):  # noqa: N818 - named like the product's errors
    """A device was not taken in."""


@dataclass(frozen=True)
class _Newcomer:
    uuid: str
    api_key: str
    private_key: str
    sealed: bytes
    address: str


def run(quick: bool, report: Report) -> None:
    with control_site(devices=10) as site:
        RegisterBench(site, report, devices=150 if quick else 1500).measure()


class RegisterBench:
    """One API, and devices that nobody knows yet."""

    def __init__(self, site: ControlSite, report: Report, *, devices: int) -> None:
        self._site, self._report, self._count = site, report, devices
        self._times: list[float] = []

    def measure(self) -> None:
        """Register everybody, and count who is in."""
        made = self._site.ask(
            "POST", "/provisioning-keys", {"fleetId": "bench", "maxDevices": self._count + 1}
        )
        told = self._site.ask("POST", requests.KEY_EXCHANGE_V2, {})
        newcomers = [self._make(number, made["key"], told) for number in range(self._count + 1)]
        self._report.progress(f"{len(newcomers):,} envelopes")
        self._site.site.run(self._all(newcomers[:1]))
        self._times.clear()
        api, database = cpu_seconds(self._site.api_pid), cpu_seconds(self._site.postgres_pid)
        began = time.perf_counter()
        self._site.site.run(self._all(newcomers[1:]))
        seconds = time.perf_counter() - began
        self._report.add(
            "registered, certified and proven", self._count / seconds, "devices/s", goal=at_least(50)
        )
        self._report.add("all three requests of a device, p50", percentile(self._times, 50), "ms")
        self._report.add("all three requests of a device, p99", percentile(self._times, 99), "ms")
        for name, pid, before in (
            ("the API", self._site.api_pid, api),
            ("PostgreSQL", self._site.postgres_pid, database),
        ):
            self._report.add(f"CPU of {name} a device", 1e3 * (cpu_seconds(pid) - before) / self._count, "ms")
        proven = self._site.site.scalar(
            "SELECT count(*) FROM device_registrations WHERE proven_at IS NOT NULL"
        )
        self._report.add(
            "devices that are not in", abs(len(newcomers) - int(str(proven))), "", goal=at_most(0)
        )

    def _make(self, number: int, provisioning_key: str, told: Mapping[str, Any]) -> _Newcomer:
        device, private_key = make_device(), keys.make_key()
        asked = requests.RegisterRequest(
            uuid=device.uuid,
            device_name=f"press {number}",
            device_type="gateway",
            device_api_key=device.api_key,
            provisioning_key=provisioning_key,
            csr=keys.make_csr(private_key, device.uuid),
            mac_address=":".join(f"{part:02x}" for part in (2, 0, 0, 0, number // 256, number % 256)),
            os_version="Debian 12",
            agent_version="1.2.3",
        )
        cloud = envelope.read_cloud_key(told["apiPublicKey"])
        sealed = envelope.seal(asked.write(), cloud, envelope.Addressed(told["keyId"], device.uuid))
        address = f"127.{1 + number // _ADDRESSES}.0.{1 + number % _ADDRESSES}"
        return _Newcomer(device.uuid, device.api_key, private_key, json.dumps(sealed).encode(), address)

    async def _all(self, newcomers: list[_Newcomer]) -> None:
        todo = iter(newcomers)

        async def work() -> None:
            for newcomer in todo:
                began = time.perf_counter()
                await self._register(newcomer)
                self._times.append(1e3 * (time.perf_counter() - began))

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())

    async def _register(self, newcomer: _Newcomer) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._site.port, local_addr=(newcomer.address, 0)
        )
        named = {requests.IDEMPOTENCY_HEADER: newcomer.uuid}
        try:
            writer.write(_post(requests.REGISTER_V2, newcomer.sealed, named))
            registered = await _answer(reader)
            proof = keys.prove(newcomer.private_key, newcomer.uuid, registered["challenge"])
            body = {"deviceApiKey": newcomer.api_key, "signature": proof.signature}
            shown = {requests.AGENT_KEY_HEADER: newcomer.api_key}
            writer.write(_post(requests.key_exchange_path(newcomer.uuid), json.dumps(body).encode(), shown))
            await _answer(reader)
            own = {"Host": "bench", "X-Device-API-Key": newcomer.api_key}
            writer.write(raw_request("GET", f"{BASE}/device/{newcomer.uuid}/state", own))
            target = await _answer(reader)
            if newcomer.uuid not in target:
                raise RegistrationFailed(str(target))
        finally:
            writer.close()


def _post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    own = {"Host": "bench", "Content-Type": "application/json"}
    return raw_request("POST", BASE + path, {**own, **headers}, body)


async def _answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lengths = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    content = await reader.readexactly(int(lengths[0].partition(":")[2]))
    if head.split(" ")[1] != "200":
        raise RegistrationFailed(f"{head.splitlines()[0]}: {content[:500]!r}")
    read: dict[str, Any] = json.loads(content)
    return read
