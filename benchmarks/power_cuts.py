"""What an agent makes of 300 power cuts: killed at random points of updates on a real Docker, and started again.

A cut may hit an update, or what an agent does about the cut before. After each series the device is compared
with its target: no container lost, none twice, the service that did not change untouched, the volume's content
there, nothing left over. Some cuts kill Docker as well, with everything that runs in it.
"""

import collections
import random
import tempfile
from pathlib import Path

from benchmarks.docker_server import DockerMissing, DockerServer
from benchmarks.framework import Goal, Report, at_least, at_most, percentile
from benchmarks.power_device import PowerDevice, Unsettled

_CUTS, _DOCKER_CUTS = 300, 4
_QUICK_CUTS, _QUICK_DOCKER_CUTS = 6, 1
_AGAIN = 0.65
"""How likely the agent that repairs is killed too."""
_A_CUT_S = 6.0
_TOLD_EVERY = 20
_STEPS, _WITHIN_A_STEP_S = 12, 0.2


class Findings:
    """What came of the cuts so far."""

    def __init__(self) -> None:
        self.cuts = 0
        self.hit: collections.Counter[str] = collections.Counter()
        self.settled_s: list[float] = []
        self.faults: list[str] = []
        self.failures: list[str] = []


def run(quick: bool, report: Report) -> None:
    docker = DockerServer()
    with tempfile.TemporaryDirectory(prefix="iotistic-cuts-") as folder:
        device = PowerDevice(docker, Path(folder))
        try:
            docker.start()
            device.prepare()
            _measure(device, report, quick)
        finally:
            device.stop()
            docker.stop()


def cut_often(device: PowerDevice, cuts: int, chance: random.Random, span_s: float) -> Findings:
    """Cut updates and repairs until there were so many; `span_s` is how long an update takes."""
    found = Findings()
    while found.cuts < cuts:
        cut_one_update(device, found, chance, span_s)
    return found


def cut_one_update(device: PowerDevice, found: Findings, chance: random.Random, span_s: float) -> None:
    """Cut one update, perhaps its repairs too, and compare the device with the target."""
    device.forget_log()
    device.declare()
    while True:
        _await_a_point(device, chance, span_s)
        found.hit.update(device.cut() or {"between steps"})
        found.cuts += 1
        device.start()
        if chance.random() > _AGAIN:
            break
    try:
        found.settled_s.append(device.settle())
        found.failures += device.failures()
    except Unsettled as exc:
        found.faults.append(str(exc))
        raise


def _await_a_point(device: PowerDevice, chance: random.Random, span_s: float) -> None:
    """Wait until a random moment of an update, or, every other time, shortly after one of its steps began."""
    if chance.random() < 1 / 2:
        device.until_working_or_settled()
        device.pause(chance.uniform(0, span_s))
    else:
        device.until_working_or_settled(chance.randint(1, _STEPS))
        device.pause(chance.uniform(0, _WITHIN_A_STEP_S))


def _measure(device: PowerDevice, report: Report, quick: bool) -> None:
    chance = random.Random()
    device.forget_log()
    device.declare()
    span_s = device.settle()
    report.add("an update that nobody cuts", span_s, "s")
    cuts, docker_cuts = (_QUICK_CUTS, _QUICK_DOCKER_CUTS) if quick else (_CUTS, _DOCKER_CUTS)
    found = Findings()
    try:
        while found.cuts < cuts and (not quick or report.remaining_s > 2 * _A_CUT_S):
            before = found.cuts
            cut_one_update(device, found, chance, span_s)
            if found.cuts // _TOLD_EVERY > before // _TOLD_EVERY:
                report.progress(f"{found.cuts} cuts, {len(found.settled_s)} updates")
    finally:
        _tell(report, found, None if quick else at_least(cuts))
    if not quick:
        report.add("until the images of earlier releases are gone", device.until_one_image(), "s")
    _cut_docker(device, report, docker_cuts, chance, span_s)


def _tell(report: Report, found: Findings, enough: Goal | None) -> None:
    for step, count in found.hit.most_common():
        report.add(f"cut in {step}", count, "cuts")
    for failure in found.failures:
        report.progress(f"tried again: {failure}")
    report.add("steps that failed and were tried again", len(found.failures), "steps")
    report.add("agent killed", found.cuts, "cuts", goal=enough)
    for percent in (50, 99, 100):
        report.add(f"settled after a cut, p{percent}", percentile(found.settled_s, percent), "s")
    report.add("devices that were not as declared", len(found.faults), "of them", goal=at_most(0))


def _cut_docker(device: PowerDevice, report: Report, cuts: int, chance: random.Random, span_s: float) -> None:
    took_s: list[float] = []
    for number in range(cuts):
        device.forget_log()
        device.declare()
        device.until_working_or_settled()
        device.pause(chance.uniform(0, span_s))
        if number % 2:
            device.cut()  # a device that loses its power loses both
        try:
            device.kill_docker()
        except DockerMissing as exc:
            # Debian's 20.10 panics on what it left itself, about once in ten times; no agent can help there.
            report.progress(f"Docker did not start again: {exc.message[-200:]}")
            break
        if number % 2:
            device.start()
        took_s.append(device.settle())
        report.progress(f"Docker killed, settled after {took_s[-1]:.1f} s")
    report.add("Docker killed, and back", len(took_s), "cuts")
    report.add("settled after Docker is back, longest", percentile(took_s, 100), "s")
