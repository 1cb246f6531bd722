"""Thousands of devices come back at once after an hour away, with full outboxes.

    baseline     all connected, live readings only
    outage       connections cut; every device measures through one simulated hour
    storm        all connect at once; new readings are live, the hour is backlog

First with the backlog's lane, where devices send what they kept as they are granted; then all at once on
the ordinary topics, as they would without. Bystanders, which were never away, publish throughout: what
they feel is the installation alone, while the fleet's own delays hold those of its one process too.
STORM_CONTROLLERS and STORM_OUTBOX change the size.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.framework import Goal, Report, at_most, percentile
from benchmarks.installation import Installation, installation
from benchmarks.load import LoadPlan, load
from benchmarks.scale import enrol
from benchmarks.storm_figures import Came, Delays, Figures, delays, figures
from benchmarks.storm_fleet import HOUR_S, FleetProcess, StormPlan
from benchmarks.storm_watch import StormWatch
from benchmarks.usage import resident_bytes

_QUIET_S = 1.0
_SAY_EVERY_S = 5.0
_ASK_EVERY_S = 1.0  # to answer, the process of the devices counts what thousands of them keep
_STORED_WITHIN_S = 120.0
_LIVE_WORSE = at_most(2, of="ratio")
_NOTHING = at_most(0)
_WAYS = {True: "as granted", False: "all at once"}
_DEVICES = """
SELECT json_agg(json_build_array(d.id, d.macaddress, c.macaddress))::text
FROM devices d LEFT JOIN pins p ON p.deviceid = d.id
    LEFT JOIN connectors k ON k.id = p.connectorid LEFT JOIN devices c ON c.id = k.controllerid
"""
_CLIMATE = """
SELECT count(*) FROM decoded_data r JOIN datapoints p ON p.id = r.datapoint_id
WHERE p.label = 'temperature' AND r.device_id IN (SELECT deviceid FROM pins)
"""
# What was measured through the outage and came after it: to receipt, which is a moment before the commit.
_CAUGHT_UP = """
SELECT (extract(epoch FROM coalesce(max(received_at), to_timestamp({0}))) * 1000000)::bigint FROM decoded_data
WHERE "timestamp" < to_timestamp({0}) AND received_at > to_timestamp({0})
"""


@dataclass(frozen=True)
class Sizes:
    """How many devices, how often each sensor measures, and how long the phases last."""

    controllers: int
    interval_s: float
    outbox: int
    baseline_s: float
    storm_within_s: float
    log_mib: int
    """What one fleet and its hour write to PostgreSQL's log."""
    bystander_rate: float = 100


QUICK = Sizes(controllers=100, interval_s=20, outbox=120, baseline_s=3, storm_within_s=10, log_mib=64)
FULL = Sizes(controllers=5_000, interval_s=60, outbox=300, baseline_s=30, storm_within_s=600, log_mib=2048)


def run(quick: bool, report: Report) -> None:
    sizes = QUICK if quick else FULL
    sizes = replace(
        sizes,
        controllers=int(os.environ.get("STORM_CONTROLLERS", sizes.controllers)),
        outbox=int(os.environ.get("STORM_OUTBOX", sizes.outbox)),
    )
    with installation(workers=1) as site:
        site.start_stage("ingest", LANE="backlog", INGEST_WORKERS="1")
        site.start_maintenance()
        site.use_log(sizes.log_mib)
        enrol(site.home, site.authority, sizes.controllers)
        report.progress(f"{sizes.controllers} devices have certificates")
        with StormWatch(site.home.run, "0") as watch, _bystanders(site, sizes):
            storm = Storm(site, watch, sizes, report)
            for granted in (True, False):
                storm.blow(granted=granted)
            report.add("rows that the feed of this benchmark lost", watch.lost_rows, "rows")


class Storm:
    """One installation that is hit twice."""

    def __init__(self, site: Installation, watch: StormWatch, sizes: Sizes, report: Report) -> None:
        self._site, self._watch, self._sizes, self._report = site, watch, sizes, report
        self._climate = 0

    def blow(self, *, granted: bool) -> None:
        """Go through all phases with a new fleet."""
        self._way = _WAYS[granted]
        self._site.execute("CHECKPOINT")
        with _fleet(self._site, self._sizes, granted=granted) as fleet:
            fleet.tell("connect")
            self._settle(fleet)
            devices = self._devices()
            self._watch.committed()
            time.sleep(self._sizes.baseline_s)
            everyone = Came.of(devices, {mac: 0 for _, _, mac in devices if mac})
            baseline = delays(self._watch.committed(), everyone, clock_late_us=HOUR_S * 1_000_000)
            self._tell_delays("before the outage", baseline, None)
            fleet.tell("cut")
            kept_back = fleet.tell("hour")["kept_back"]
            self._add("kept back", kept_back, "messages")
            self._settle(fleet)
            self._watch.committed()
            ended_us = fleet.tell("restore")["at_us"]
            self._wait_until_drained(fleet)
            self._add("memory of the devices", resident_bytes(fleet.pid) / 2**20, "MiB")
            told = fleet.finish()
            self._wait_until_stored(told)
            came = Came.of(self._devices(), told["back_us"])
            caught_up_us = int(str(self._site.scalar(_CAUGHT_UP.format(ended_us / 1e6))))
            found = figures(self._watch.committed(), came, ended_us=ended_us, caught_up_us=caught_up_us)
            if told["kept_back"]:
                found = replace(found, caught_up_s=math.nan)
            self._tell(found, baseline, kept_back)
            self._account(told)

    def _devices(self) -> list[tuple[int, str | None, str | None]]:
        return [tuple(row) for row in json.loads(str(self._site.scalar(_DEVICES)))]

    def _settle(self, fleet: FleetProcess) -> None:
        """Wait until what was sent by now is stored."""
        self._wait_until_stored(fleet.tell("told"))
        time.sleep(_QUIET_S)

    def _wait_until_drained(self, fleet: FleetProcess) -> None:
        deadline = time.monotonic() + self._sizes.storm_within_s
        said_at = 0.0
        while True:
            told = fleet.tell("told")
            if told["connected"] == self._sizes.controllers and not told["kept_back"]:
                return
            if time.monotonic() > deadline:
                self._report.progress("the time is over")
                return
            if time.monotonic() - said_at > _SAY_EVERY_S:
                said_at = time.monotonic()
                self._report.progress(
                    f"{self._way}: {told['connected']} connected, {told['kept_back']:,} kept back, "
                    f"{told['caught_up']:,} caught up, {told['backlog_put_off']:,} put off"
                )
            time.sleep(_ASK_EVERY_S)

    def _wait_until_stored(self, told: dict[str, Any]) -> None:
        deadline = time.monotonic() + _STORED_WITHIN_S
        while self._stored(told) < told["numbered"] - told["kept_back"] and time.monotonic() < deadline:
            time.sleep(0.5)

    def _stored(self, told: dict[str, Any], column: str = "stored") -> int:
        while self._site.scalar("SELECT ledger_fold(50)"):
            continue
        return int(str(self._site.scalar(
            f"SELECT coalesce(sum({column}), 0) FROM ledger_epochs WHERE epoch = {told['epoch']}"  # noqa: S608
        )))  # fmt: skip

    def _tell(self, found: Figures, baseline: Delays, kept_back: int) -> None:
        self._add("last device connected after", found.last_back_s, "s")
        for percent in (50, 99, 100):
            name = "max" if percent == 100 else f"p{percent}"
            self._add(f"first live reading stored, {name}", percentile(found.first_live_s, percent), "s")
        self._add(
            "devices without a live reading",
            self._sizes.controllers - len(found.first_live_s),
            "",
            goal=_NOTHING,
        )
        self._add("all of the backlog stored after", found.caught_up_s, "s")
        self._add("backlog", kept_back / found.caught_up_s if found.caught_up_s else math.nan, "messages/s")
        self._tell_delays("while devices connect", found.reconnecting, baseline)
        self._tell_delays("during catch-up", found.catching_up, baseline, goal=_LIVE_WORSE)

    def _tell_delays(
        self, when: str, found: Delays, baseline: Delays | None, goal: Goal | None = None
    ) -> None:
        parts = (("live", found.fleet, baseline and baseline.fleet),
                 ("bystanders", found.bystanders, baseline and baseline.bystanders))  # fmt: skip
        for who, late, before in parts:
            for percent in (50, 99):
                reference = None if before is None else percentile(before, percent)
                wanted = goal if percent == 99 and self._way == _WAYS[True] else None
                self._add(
                    f"{who} {when}, p{percent}",
                    percentile(late, percent),
                    "ms",
                    reference=reference,
                    goal=wanted,
                )

    def _account(self, told: dict[str, Any]) -> None:
        """Everything that was numbered is stored, once."""
        self._climate += told["climate"]
        rows = int(str(self._site.scalar(_CLIMATE)))
        stored = self._stored(told)
        self._add("numbered and not stored", told["numbered"] - stored, "messages", goal=_NOTHING)
        self._add("missing in the ledger", self._stored(told, "highest - stored"), "messages", goal=_NOTHING)
        self._add("came twice", self._stored(told, "messages - stored"), "messages")
        self._add("climate rows missing or double", abs(self._climate - rows), "rows", goal=_NOTHING)
        self._add("skipped, outbox full", told["skipped"], "messages")

    def _add(
        self, name: str, value: float, unit: str, *, reference: float | None = None, goal: Goal | None = None
    ) -> None:
        self._report.add(f"{self._way}: {name}", value, unit, reference=reference, goal=goal)


@contextmanager
def _fleet(site: Installation, sizes: Sizes, *, granted: bool) -> Iterator[FleetProcess]:
    fleet = FleetProcess(
        StormPlan(
            port=site.endpoints.device_port,
            ca_file=str(site.authority.certificate),
            credentials=str(site.home.simulator),
            controllers=sizes.controllers,
            interval_s=sizes.interval_s,
            outbox=sizes.outbox,
            granted=granted,
        )
    )
    try:
        yield fleet
    finally:
        fleet.stop()


@contextmanager
def _bystanders(site: Installation, sizes: Sizes) -> Iterator[None]:
    """Publish some readings all the time, from devices that are never away."""
    endpoints = site.endpoints
    plan = LoadPlan(
        port=endpoints.service_port,
        username=endpoints.service_username,
        password_file=str(endpoints.service_password_file),
        devices=10,
        series=100,
        rate=sizes.bystander_rate,
        count=10_000_000,
        tick_s=0.005,
    )
    with load(plan):
        yield
