"""From publish to visible: in the API's latest values and on the event stream.

The watched device is one of many; the rate is that of the whole installation, all on one machine. The
time counts from the instant a message was due, over the broker, the worker and the commit, to the byte
that the client has in hand.
"""

import time
from dataclasses import replace

import numpy as np

from benchmarks.feed import CommitWatch
from benchmarks.framework import Report, at_most, percentile
from benchmarks.installation import Installation, installation
from benchmarks.load import LoadPlan, load
from benchmarks.messages import MessageStream
from benchmarks.watchers import LatestWatcher, StreamWatcher

_WITHIN_S = 120.0
_SETTLE_S = 0.3


def run(quick: bool, report: Report) -> None:
    seconds = 5 if quick else 30
    with installation(workers=1) as site:
        api = site.start_api()
        for rate, devices in ((1_000, 10), (50_000, 100)):
            measure(site, api, report, rate=rate, devices=devices, seconds=seconds)


def measure(site: Installation, api: str, report: Report, *, rate: int, devices: int, seconds: int) -> None:
    """Publish at a rate while both watchers look at the first device."""
    endpoints = site.endpoints
    plan = LoadPlan(
        port=endpoints.service_port,
        username=endpoints.service_username,
        password_file=str(endpoints.service_password_file),
        devices=devices,
        series=devices * 10,
        rate=rate,
        count=rate * seconds,
    )
    token = site.home.api_token.read_text(encoding="utf-8").strip()
    device = MessageStream(devices=devices, series=plan.series).device_name(0)
    publish(site, replace(plan, rate=0, count=plan.series))
    with LatestWatcher(api, token, device) as latest, StreamWatcher(api, token, device) as stream:
        started_us = publish(site, plan)
        time.sleep(_SETTLE_S)
        publish(site, replace(plan, rate=0, count=plan.series))  # wakes the stream's reader for the last time
        time.sleep(_SETTLE_S)
        stream.closing.set()
        publish(site, replace(plan, rate=0, count=plan.series))
    due_us = started_us + (np.arange(0, plan.count, devices) * (1e6 / rate)).astype(np.int64)
    for where, found in (
        ("in latest", latest.latencies_ms(due_us)),
        ("on the stream", stream.latencies_ms(started_us)),
    ):
        name = f"visible {where} at {rate:,} msg/s"
        report.add(f"{name}, p50", percentile(found, 50), "ms")
        report.add(f"{name}, p99", percentile(found, 99), "ms", goal=at_most(250))


def publish(site: Installation, plan: LoadPlan) -> int:
    """Publish a plan and wait until it is committed; return when it began (microseconds)."""
    with CommitWatch(site.home.run) as watch, load(plan) as publisher:
        if not watch.wait_for(plan.count, _WITHIN_S):
            raise TimeoutError(f"{watch.rows} of {plan.count} messages were committed")
        return publisher.wait(_WITHIN_S).first_us
