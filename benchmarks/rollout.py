"""Rollouts over real agents with simulated containers, against one API process: what was predicted, and what came.

ROLLOUT_AGENTS says how many (2,000; 40 when quick). Devices are not alike: the slowest takes four times as long as
the fastest, and calls on one differ by 5 %. Agents tell what their updates took; a prediction is compared with that,
device by device (rollout_errors.py); ROLLOUT_PARTS names a file for all of it. How late the agents' process is stands
beside it: devices do not wait for each other, these do. The bad release crashes on every device that gets it; the worse
one fails no step, and shows only in the health figures of a share of the devices (rollout_health.py), so only the
comparison with those that wait can stop it. In the last part API, agents, broker and database are killed (SIGKILL) in
turn while a rollout is under way.

One in ROLLOUT_LINKED agents (10; 4 when quick) has its connection to the broker, as devices have it: it hears of its
target, polls twice an hour only, and reports over MQTT. The others poll. All that are told begin at once, which
devices can and one process of agents cannot: with all of them connected, its lateness would be what is measured.
"""

import asyncio
import json
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.framework import Report, at_least, at_most, percentile
from benchmarks.rollout_errors import compare, compare_apart
from benchmarks.rollout_fleet import BAD_IMAGE
from benchmarks.rollout_site import Site, running_site, shop

_AGENTS, _QUICK_AGENTS = 2000, 40
_LEAST_POLL_S, _POLLS_A_S = 5.0, 100
_FEW_WAVES, _MANY_WAVES, _ENOUGH_FOR_MANY = (5, 50, 100), (5, 30, 55, 80, 100), 200
"""A wave begins within one round of polls. More at once than the cores can serve, and agents in one process wait for
each other: that was 8 % of downtime with 150 agents that polled every 2 s. So no more than 25 a second begin: an
update costs their process 17 ms."""
_CALL_S = 1.0
_QUICKLY: dict[str, object] = {"watchS": 5, "updateWithinS": 300}
_EVERYBODY: dict[str, Any] = {"all": True}
_FEW = 20
"""Devices that get the first change of an image, so that the times of its steps, and the range, are learned."""
_ASK_EVERY_S = 0.02
_KILL_EVERY_S = 8.0
_AT_REST_S = 80.0
_MOST_PREVIEW_S, _MOST_REACHED = 5.0, 2.0
_LEAST_TAKEN = 90.0
_WORSE_IMAGE = "web:worse"
_ENOUGH_TO_COMPARE = 1000
"""So that the first wave, 1 %, holds enough devices to be compared: with 500, 2 of 5 that failed proved nothing yet."""
_LINKED, _QUICK_LINKED = 10, 4


def run(quick: bool, report: Report) -> None:
    count = int(os.environ.get("ROLLOUT_AGENTS") or (_QUICK_AGENTS if quick else _AGENTS))
    with tempfile.TemporaryDirectory(prefix="iotistic-bench-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o711)
        asyncio.run(_measure(folder, count, report, quick=quick))


async def _measure(folder: Path, count: int, report: Report, *, quick: bool) -> None:
    poll_s = max(_LEAST_POLL_S, count / _POLLS_A_S)
    linked = int(os.environ.get("ROLLOUT_LINKED") or (_QUICK_LINKED if quick else _LINKED))
    plan = {"count": count, "poll_s": poll_s, "call_s": _CALL_S, "linked": linked}
    async with running_site(folder, say=report.progress, **plan) as site:
        began = time.monotonic()
        await site.until("agents registered and reporting", "SELECT count(*) FROM device_states", count)
        report.add(f"{count:,} agents, registered and reporting", time.monotonic() - began, "s")
        report.add("niceness of the agents' process", site.niceness, "")
        await site.until_linked()
        report.add("agents connected to the broker", site.online, "agents", goal=at_least(site.links))
        await _deploy_first(site, report)
        await _preview(site, report)
        await _good_release(site, report)
        await _bad_release(site, report)
        await _worse_release(site, report)
        _tell_mqtt(site, report)
        await _with_kills(site, report, kills=2 if quick else 3)


async def _deploy_first(site: Site, report: Report) -> None:
    """Give everybody the shop, then a few of them two changes, so that steps' times are learned.

    Many do not begin at once: agents that wait for each other would look slow, each by its place in the crowd, and that
    is what paces are learned from.
    """
    change = {"kind": "set", **shop()}
    waves = _MANY_WAVES if site.count >= _ENOUGH_FOR_MANY else [100]
    began = time.monotonic()
    rollout = await site.make("first", change, _EVERYBODY, waves=waves, **_QUICKLY)
    await site.until_over(rollout)
    report.add("first deployment, all settled", time.monotonic() - began, "s")
    _tell_lateness("first deployment", began, site, report)
    few = [one["deviceUuid"] for one in (await site.parts(rollout))[: max(site.count // 20, _FEW)]]
    # The first of these teaches what steps take; the second, predicted from that, how far predictions are off.
    for image in ("web:1.1", "web:2"):
        change = {"kind": "image", "service": "web", "image": image}
        rollout = await site.make("learning", change, {"devices": few}, waves=[100], **_QUICKLY)
        await site.until_over(rollout)
    # A release that has run for a minute is a good one, whose image is kept for a while: devices are to be at rest.
    report.progress(f"{_AT_REST_S:.0f} s of rest")
    await asyncio.sleep(_AT_REST_S)


async def _preview(site: Site, report: Report) -> None:
    body = {"change": {"kind": "image", "service": "web", "image": "web:3"}, "selection": _EVERYBODY}
    took: list[float] = []
    asking = asyncio.create_task(_ask_on(site, took))
    began = time.monotonic()
    found = await site.ask("POST", "/rollouts/preview", body)
    seconds = time.monotonic() - began
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    title = f"preview of {len(found['devices']):,} devices"
    report.add(title, seconds, "s", reference=_MOST_PREVIEW_S, goal=at_most(_MOST_PREVIEW_S))
    report.add("different plans in it", len(found["plans"]), "plans")
    report.add("other requests meanwhile, p99", percentile(took, 99) * 1000, "ms")


async def _ask_on(site: Site, took: list[float]) -> None:
    while True:
        began = time.monotonic()
        await site.ask("GET", "/rollouts", limit=1)
        took.append(time.monotonic() - began)
        await asyncio.sleep(_ASK_EVERY_S)


async def _good_release(site: Site, report: Report) -> None:
    change = {"kind": "image", "service": "web", "image": "web:3"}
    waves = _MANY_WAVES if site.count >= _ENOUGH_FOR_MANY else _FEW_WAVES
    began = time.monotonic()
    rollout = await site.make("good", change, _EVERYBODY, waves=waves, **_QUICKLY)
    over = await site.until_over(rollout)
    report.add(f"good release, {len(waves)} waves", time.monotonic() - began, "s")
    parts = await site.parts(rollout)
    succeeded = [one for one in parts if one["state"] == "succeeded"]
    _tell_lateness("good release", began, site, report)
    share = 100 * len(succeeded) / site.count
    report.add("good release, devices that succeeded", share, "%", goal=at_least(100.0))
    if over["state"] != "completed":
        report.progress(f"good release: {over['state']}, {over['haltReason']}")
    compare(succeeded, report)
    compare_apart("the connected", [one for one in succeeded if site.is_linked(one)], report)
    compare_apart("the others", [one for one in succeeded if not site.is_linked(one)], report)
    _write(parts)


def _write(parts: list[Any]) -> None:
    if path := os.environ.get("ROLLOUT_PARTS"):
        Path(path).write_text(json.dumps(parts))


def _tell_lateness(name: str, began: float, site: Site, report: Report) -> None:
    late = site.lateness(began)
    report.add(f"{name}, agents' process late, p99", percentile(late, 99) * 1000, "ms")
    report.add(f"{name}, agents' process late, longest", max(late, default=0.0) * 1000, "ms")


async def _bad_release(site: Site, report: Report) -> None:
    # One device is the least that a fleet can find out with.
    bound = max(_MOST_REACHED, 100 / site.count)
    await _taken_back(site, report, "bad", BAD_IMAGE, bound, _QUICKLY)


async def _worse_release(site: Site, report: Report) -> None:
    site.figures(_WORSE_IMAGE)
    # A comparison takes several devices: 1 % of a small fleet is too few.
    bound = _MOST_REACHED if site.count >= _ENOUGH_TO_COMPARE else 100.0
    policy = _QUICKLY | {"halt": {"maxFailurePercent": 100}}
    await _taken_back(site, report, "worse", _WORSE_IMAGE, bound, policy)
    site.figures("")


async def _taken_back(
    site: Site, report: Report, name: str, image: str, bound: float, policy: dict[str, object]
) -> None:
    change = {"kind": "image", "service": "web", "image": image}
    began = time.monotonic()
    rollout = await site.make(name, change, _EVERYBODY, waves=[1, 10, 50, 100], **policy)
    over = await site.until_over(rollout)
    report.add(f"{name} release, until it is taken back", time.monotonic() - began, "s")
    parts = await site.parts(rollout)
    reached = [one for one in parts if one["toVersion"] is not None]
    percent = 100 * len(reached) / site.count
    report.add(f"{name} release, devices reached", percent, "%", reference=bound, goal=at_most(bound))
    back = 100 * sum(one["state"] == "rolled_back" for one in reached) / max(len(reached), 1)
    report.add(f"{name} release, of them rolled back", back, "%", goal=at_least(100.0))
    report.progress(f"{name} release: {over['state']}, {over['haltCode']}, {over['haltReason']}")


def _tell_mqtt(site: Site, report: Report) -> None:
    counted = site.counted()
    report.add("targets announced, to all agents", counted["announced"], "targets")
    heard = counted["heard"]
    report.add("of them heard by the connected", heard, "targets", goal=at_least(1))
    taken = 100 * counted["taken"] / max(heard, 1)
    report.add("of these in force after that", taken, "%", goal=at_least(_LEAST_TAKEN))
    report.add("reports stored that came over MQTT", counted["stored"], "reports", goal=at_least(1))


async def _with_kills(site: Site, report: Report, kills: int) -> None:
    change = {"kind": "image", "service": "web", "image": "web:4"}
    policy = _QUICKLY | {"halt": {"maxFailurePercent": 100, "sequential": False}}
    rollout = await site.make("kills", change, _EVERYBODY, waves=[10, 40, 100], **policy)
    began, chance = time.monotonic(), random.Random(1)
    killing = asyncio.create_task(_kill(site, kills, chance, report))
    try:
        await killing
        await site.until_over(rollout)
    except TimeoutError as exc:
        report.progress(f"given up: {exc}")
    report.add(f"rollout with {4 * kills} kills, until it is over", time.monotonic() - began, "s")
    stuck = await site.fetch("SELECT count(*) FROM rollout_parts WHERE deadline IS NOT NULL")
    report.add("devices stuck", stuck[0][0], "devices", goal=at_most(0))
    parts = await site.parts(rollout)
    succeeded = 100 * sum(one["state"] == "succeeded" for one in parts) / site.count
    report.add("devices that succeeded all the same", succeeded, "%")
    linked = [one["state"] for one in parts if site.is_linked(one)]
    share = 100 * linked.count("succeeded") / max(len(linked), 1)
    report.add("of the connected", share, "%")
    reasons = Counter(f"{one['state']}: {one['reason']}" for one in parts if one["state"] != "succeeded")
    for reason, number in reasons.most_common(5):
        report.progress(f"{number} {reason}")
    torn = await site.fetch(
        "SELECT count(*) FROM rollout_parts p JOIN device_targets t USING (device_uuid) "  # noqa: S608  an id of ours
        f"WHERE p.rollout_id = '{rollout}' AND p.state = 'succeeded' AND t.version <> p.to_version"
    )
    report.add("parts and targets that disagree", torn[0][0], "devices", goal=at_most(0))
    await _tell_return(site, report)


async def _tell_return(site: Site, report: Report) -> None:
    try:
        await site.until_linked()
    except TimeoutError as exc:
        report.progress(str(exc))
    report.add("connected again after the kills", site.online, "agents", goal=at_least(site.links))
    report.add("starts of the broker", site.broker.starts, "starts")
    counted = site.counted()
    for name in ("announced", "heard", "taken"):
        report.add(f"targets {name} in the whole run", counted[name], "targets")


async def _kill(site: Site, kills: int, chance: random.Random, report: Report) -> None:
    victims = [site.kill_api, site.kill_fleet, site.kill_broker, site.kill_database] * kills
    chance.shuffle(victims)
    for victim in victims:
        await asyncio.sleep(_KILL_EVERY_S * chance.uniform(0.3, 1))
        report.progress(victim.__name__)
        await victim()
