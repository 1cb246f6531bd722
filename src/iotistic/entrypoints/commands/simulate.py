"""`iotistic simulate`: devices that enrol, connect, publish and obey as real ones do.

Standard error gets progress and a line of counts every few seconds, standard output the summary at the
end. SIGINT and SIGTERM end it in order: publishing stops, acknowledgements are waited for, connections
are closed.
"""

import asyncio
import gc
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import uvloop
from cyclopts import App, Parameter
from cyclopts.validators import Number
from pydantic import Field, SecretStr

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.installation import Endpoints, running_endpoints
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Denied, Invalid
from iotistic.kernel.home import Home, HomeSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.kernel.process import raise_file_limit
from iotistic.kernel.settings import load_settings
from iotistic.simulation.f2.controller import PayloadFormat
from iotistic.simulation.f2.credentials import CredentialStore
from iotistic.simulation.f2.enrolment import Authority, Enrolment, enrol
from iotistic.simulation.f2.fleet import Fleet, FleetPlan, controller_mac
from iotistic.simulation.f2.tally import Tally

app = App(name="simulate", help_format="plaintext")
app.command(
    "iotistic.entrypoints.commands.simulate_agents:agents",
    name="agents",
    help="Run many real agents in one process; only their containers are simulated.",
)

_LINE_EVERY_S = 3.0
_OTHER_FILES = 200  # open files besides the devices' connections
_MQTTS_PORT = 8883


class TooManyDevices(Invalid):
    """The system allows too few open files for so many devices."""

    code = "simulator.too_many_devices"


class SimulatorSettings(HomeSettings, LogSettings):
    """Where simulated devices enrol and connect; unset means the installation that runs in the home."""

    simulate_mqtt_url: str | None = None
    """The broker's listener for devices, mqtts://host:port."""
    simulate_pki_url: str | None = None
    """The certificate authority's base URL, https://host:port."""
    simulate_ca_file: Path | None = None
    """CA certificate (PEM) that both are checked against."""
    enrolment_token: SecretStr | None = None
    """Token that allows enrolment; unset means the operator token in the home."""
    publish_interval: float = Field(default=5.0, gt=0, le=86_400)
    """Seconds between two measurements of a sensor."""


@dataclass(frozen=True)
class Site:
    """Where the devices enrol and connect."""

    broker_host: str
    broker_port: int
    authority: Authority
    credentials: Path


@app.command
def f2(
    *,
    controllers: Annotated[int, Parameter(validator=Number(gte=1, lte=10_000))] = 4,
    interval: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    rate: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    payload: PayloadFormat = PayloadFormat.MODBUS,
    seed: int = 1,
    duration: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    connects_per_second: Annotated[float, Parameter(validator=Number(gt=0))] = 1000.0,
    replace: Annotated[bool, Parameter(negative="")] = False,
    stamps: bool = True,
    outbox: Annotated[int | None, Parameter(validator=Number(gte=1, lte=1_000_000))] = None,
    json: AsJson = False,
) -> None:
    """Simulate F2 controllers with eight climate sensors each, doors, readers, motion and sirens.

    Parameters
    ----------
    controllers
        How many, up to 10,000; their MACs count up from aa:bb:cc:dd:ee:01.
    interval
        Seconds between two measurements of a sensor (default: PUBLISH_INTERVAL, or 5).
    rate
        Messages per second of all controllers together, instead of an interval.
    payload
        What climate sensors send: Modbus frames, or the temperature as JSON.
    seed
        The same seed and times give the same readings.
    duration
        Seconds to publish; without it, until Ctrl-C.
    connects_per_second
        How fast devices connect.
    replace
        Revoke certificates of these devices whose keys are lost here, instead of giving up.
    stamps
        Number messages for the delivery ledger, and send them again when asked.
    outbox
        Messages that one controller keeps back while it is not connected (default: a share of 300,000, from
        40 to 1,000).
    """
    settings = load_settings(SimulatorSettings, publish_interval=interval)
    configure_logging(settings, process="simulate")
    if controllers + _OTHER_FILES > (limit := raise_file_limit()):
        raise TooManyDevices(
            f"{controllers} devices need more than the {limit} open files that are allowed",
            hint=f"raise the hard limit: ulimit -Hn {controllers + _OTHER_FILES}",
        )
    site = find_site(settings)
    plan = FleetPlan(
        broker_host=site.broker_host,
        broker_port=site.broker_port,
        interval_s=settings.publish_interval,
        rate=rate,
        payload_format=payload,
        seed=seed,
        connects_per_s=connects_per_second,
        stamps=stamps,
        outbox=outbox,
    )
    run = Run(plan, site, controllers=controllers, duration_s=duration, replace=replace)
    emit(uvloop.run(run.until_told()), json=json)


def find_site(settings: SimulatorSettings) -> Site:
    """Return where to go: what the settings name, else the running installation. Raises NotRunning, Invalid."""
    home = settings.home
    mqtt, pki, ca = settings.simulate_mqtt_url, settings.simulate_pki_url, settings.simulate_ca_file
    if mqtt is None or pki is None or ca is None:
        running: Endpoints = running_endpoints(home)
        mqtt, pki, ca = mqtt or running.mqtt, pki or running.pki, ca or Path(running.ca)
    address = urlsplit(mqtt)
    if address.scheme != "mqtts" or not address.hostname:
        raise Invalid("devices connect by TLS: expected mqtts://host:port", given=mqtt)
    if not ca.is_file():
        raise Invalid(f"there is no CA certificate at {ca}", hint="set SIMULATE_CA_FILE")
    return Site(
        broker_host=address.hostname,
        broker_port=address.port or _MQTTS_PORT,
        authority=Authority(pki, ca, settings.enrolment_token or _operator_token(home)),
        credentials=home.simulator,
    )


def _operator_token(home: Home) -> SecretStr:
    try:
        return SecretStr(home.api_token.read_text(encoding="utf-8").strip())
    except OSError as exc:
        raise Denied(
            f"the token in {home.api_token} cannot be read: {exc.strerror}", hint="set ENROLMENT_TOKEN_FILE"
        ) from exc


class Run:
    """One run of a fleet, from enrolment to the summary."""

    def __init__(
        self, plan: FleetPlan, site: Site, *, controllers: int, duration_s: float | None, replace: bool
    ) -> None:
        self._plan, self._site = plan, site
        self._macs = [controller_mac(number) for number in range(controllers)]
        self._duration_s = duration_s
        self._replace = replace
        self._told_at = 0.0
        self.tally = Tally(controllers=controllers)

    async def until_told(self) -> dict[str, object]:
        """Run until the duration is over or a signal comes; return the summary."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        enrolling = asyncio.create_task(self._enrol())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({enrolling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if enrolling.done():
            await self._publish(enrolling.result(), stop)
        for task in (enrolling, stopping):
            task.cancel()
        await asyncio.gather(enrolling, stopping, return_exceptions=True)
        return self.tally.summary()

    async def _enrol(self) -> Enrolment:
        authority = self._site.authority
        with CredentialStore(self._site.credentials, authority=authority.fingerprint) as store:
            enrolment = await enrol(
                self._macs, store, authority, replace=self._replace, progress=self._tell_enrolled
            )
        self.tally.enrolled, self.tally.reused = enrolment.enrolled, enrolment.reused
        _say(f"{enrolment.enrolled} enrolled, {enrolment.reused} had a certificate")
        return enrolment

    async def _publish(self, enrolment: Enrolment, stop: asyncio.Event) -> None:
        tls = TlsIdentities(self._site.authority.ca_certificate)
        fleet = Fleet(self._plan, enrolment.identities, tls, tally=self.tally)
        gc.freeze()  # what a fleet is made of lives as long as the process
        if self._duration_s is not None:
            asyncio.get_running_loop().call_later(self._duration_s, stop.set)
        telling = asyncio.create_task(self._tell_counts())
        try:
            await fleet.run(stop)
        finally:
            telling.cancel()
        _say(self.tally.line())

    async def _tell_counts(self) -> None:
        announced = False
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            _say(self.tally.line())
            if self.tally.all_connected_s is not None and not announced:
                announced = True
                _say(f"all {self.tally.controllers} connected within {self.tally.all_connected_s:.1f} s")

    def _tell_enrolled(self, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._told_at > _LINE_EVERY_S:
            self._told_at = time.monotonic()
            _say(f"enrolling: {done} of {total}")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
