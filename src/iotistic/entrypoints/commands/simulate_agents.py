"""`iotistic simulate agents`: many real agents with simulated engines, in one process.

Standard error gets a live table on a terminal and a line every few seconds elsewhere, standard output the
summary at the end. SIGINT and SIGTERM end it in order: what is under way is given up, files are closed.
"""

import asyncio
import contextlib
import gc
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.live import Live
from rich.table import Table

from iotistic.agent.provisioning.settings import ProvisioningSettings
from iotistic.entrypoints.agent.fleet import Doing, Fleet, FleetPlan
from iotistic.entrypoints.agent.fleet_cloud import FleetCloud
from iotistic.entrypoints.agent.settings import IntervalSettings
from iotistic.entrypoints.agent.target_file import read_file
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid
from iotistic.kernel.logging import LogLevel, LogSettings, configure_logging
from iotistic.kernel.process import raise_file_limit
from iotistic.kernel.settings import load_settings
from iotistic.planning.target import read_target

_LOOK_EVERY_S, _LINE_EVERY_S = 0.5, 3.0
_FILES_OF_AN_AGENT, _OTHER_FILES = 3, 200  # database, its log, a connection
_USUAL: dict[str, object] = {
    "apps": {
        "1": {
            "appName": "shop",
            "services": [
                {
                    "serviceId": 1,
                    "serviceName": "web",
                    "config": {"image": "web:1", "ports": ["80:80"], "networks": ["back"]},
                },
                {
                    "serviceId": 2,
                    "serviceName": "worker",
                    "config": {"image": "worker:1", "networks": ["back"]},
                },
                {"serviceId": 3, "serviceName": "db", "config": {"image": "db:1", "volumes": ["data:/var"]}},
            ],
        }
    }
}


class SimulateAgentsSettings(ProvisioningSettings, IntervalSettings, LogSettings):
    """Settings of a fleet of agents."""


class TooManyAgents(Invalid):
    """The system allows too few open files for so many agents."""

    code = "simulator.too_many_agents"


class KeyMissing(Invalid):
    """Without a provisioning key no cloud takes a device."""

    code = "simulator.key_missing"


def agents(
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=20_000))] = 1000,
    target: Path | None = None,
    data: Path | None = None,
    cloud: str | None = None,
    chaos: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.0,
    seed: int = 1,
    call_seconds: Annotated[float, Parameter(validator=Number(gte=0, lte=60))] = 0.0,
    duration: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    once: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
) -> int:
    """Run many real agents in one process; only their containers are simulated.

    Parameters
    ----------
    count
        How many agents.
    target
        File with the target state of each (default: an app of three services).
    data
        Folder of their databases, which a next run goes on with (default: one that is removed at the end).
    cloud
        Base URL of a cloud that they become known to and that says what they are to run; PROVISIONING_KEY (or
        PROVISIONING_KEY_FILE) is the right to. Default: CLOUD_API_ENDPOINT, or none.
    chaos
        Share of engine calls that fail, and of devices on which a service falls over each minute.
    seed
        The same seed gives the same failures.
    call_seconds
        What an engine takes for each call.
    duration
        Seconds to run; without it, until Ctrl-C.
    once
        End as soon as all are settled; status 1 when they are not within the duration.
    """
    settings = load_settings(SimulateAgentsSettings, cloud_api_endpoint=cloud)
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": LogLevel.ERROR})
    configure_logging(settings, process="simulate")
    if (needed := count * _FILES_OF_AN_AGENT + _OTHER_FILES) > (limit := raise_file_limit()):
        raise TooManyAgents(
            f"{count} agents need more than the {limit} open files that are allowed",
            hint=f"raise the hard limit: ulimit -Hn {needed}",
        )
    wanted = read_file(target) if target else read_target(_USUAL).target
    with _folder(data) as folder:
        plan = FleetPlan(
            count, wanted, folder, seed=seed, chaos=chaos, call_s=call_seconds, cloud=_cloud(settings)
        )
        fleet = Fleet(plan)
        seconds = asyncio.run(_run(fleet, duration, once=once))
    emit(_summary(fleet, seconds), json=json)
    return int(once and fleet.tally.all_settled_s is None)


def _cloud(settings: SimulateAgentsSettings) -> FleetCloud | None:
    """Return the cloud, None when none is named. Raises KeyMissing."""
    if not settings.cloud_api_endpoint:
        return None
    request = settings.provisioning_request()
    if request is None:
        raise KeyMissing(hint="set PROVISIONING_KEY or PROVISIONING_KEY_FILE")
    return FleetCloud(request.checked(), settings.poll_interval_ms / 1000, settings.report_interval_ms / 1000)


@contextlib.contextmanager
def _folder(data: Path | None) -> Generator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="iotistic-agents-", ignore_cleanup_errors=True) as made:
        yield Path(made)


async def _run(fleet: Fleet, duration_s: float | None, *, once: bool) -> float:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if duration_s is not None:
        loop.call_later(duration_s, stop.set)
    began = time.monotonic()
    telling = asyncio.create_task(_tell(fleet, stop, once=once))
    try:
        await fleet.run(stop)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    return time.monotonic() - began


async def _tell(fleet: Fleet, stop: asyncio.Event, *, once: bool) -> None:
    console, began, line_at, announced = Console(stderr=True), time.monotonic(), 0.0, False
    with (
        Live(console=console, auto_refresh=False) if console.is_terminal else contextlib.nullcontext() as live
    ):
        while not stop.is_set():
            tally = fleet.look()
            if live is not None:
                live.update(_table(fleet, time.monotonic() - began), refresh=True)
            elif time.monotonic() >= line_at:
                line_at = time.monotonic() + _LINE_EVERY_S
                _say(_line(fleet))
            if tally.all_settled_s is not None and not announced:
                announced = True
                gc.collect()
                gc.freeze()  # what a fleet is made of lives as long as the process
                _say(f"all {len(fleet.members)} settled within {tally.all_settled_s:.1f} s")
                if once:
                    stop.set()
            await asyncio.sleep(_LOOK_EVERY_S)


def _line(fleet: Fleet) -> str:
    tally = fleet.tally
    doing = ", ".join(f"{tally.doing[one]} {one}" for one in Doing if tally.doing[one])
    steps = ", ".join(f"{count} {name}" for name, count in tally.steps.most_common(4))
    return f"{doing}{f' ({steps})' if steps else ''}{f', {tally.crashes} crashes' if tally.crashes else ''}"


def _table(fleet: Fleet, seconds: float) -> Table:
    tally = fleet.tally
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    table.add_column("agents")
    table.add_column("number", justify="right")
    for one in Doing:
        table.add_row(str(one), f"{tally.doing[one]:,}")
    for name, count in sorted(tally.steps.items()):
        table.add_row(f"  {name}", f"{count:,}", style="dim")
    table.add_row("services fallen", f"{tally.crashes:,}")
    settled = "" if tally.all_settled_s is None else f" · all settled within {tally.all_settled_s:.1f} s"
    table.caption = f"{seconds:.0f} s · {_memory_bytes() / 2**20:.0f} MB{settled}"
    return table


def _summary(fleet: Fleet, seconds: float) -> dict[str, object]:
    tally = fleet.tally
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "agents": len(fleet.members),
        **{str(one): tally.doing[one] for one in Doing},
        "all_settled_s": tally.all_settled_s,
        "crashes": tally.crashes,
        "seconds": round(seconds, 3),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "memory_bytes": _memory_bytes(),
    }


def _memory_bytes() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
