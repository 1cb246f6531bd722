"""Which version of the agent this process becomes, before anything of it is loaded.

    installed version -> chosen one? -> exec (the same process number, so signals still reach it)

A version that is on trial is started twice at most, and the kernel's alarm ends one that hangs; whoever started the
agent starts it again, and then the version before runs. So a new version needs nothing of its own to be given up.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iotistic.agent.updating.standing import TRIES, Chosen, Standing, load, save
from iotistic.contracts.agent_updates import Said, UpdateReport

LAUNCHED = "IOTISTIC_AGENT_LAUNCHED"
"""Which version this process was made into; its child by exec sees it."""
BASE = "IOTISTIC_AGENT_BASE"
"""The interpreter of the installed version, which chooses anew at each restart."""
_ALARM_AFTER_S = 30


def launched() -> str:
    """Return which further version this process is; empty for the installed one."""
    return os.environ.get(LAUNCHED, "")


def versions_folder(data: Path) -> Path:
    """Return where further versions and what is known of them are kept."""
    return data / "versions"


def python_of(data: Path, version: str) -> Path:
    """Return the interpreter of a further version."""
    return versions_folder(data) / version / "bin" / "python"


def choose(standing: Standing, installed: str, now: float, *, is_there: bool) -> tuple[Standing, str]:
    """Return how it stands after a start, and which version is to run; empty for the installed one.

    `is_there`: whether the chosen version's interpreter is.
    """
    chosen = standing.chosen
    if chosen is None:
        return standing, ""
    if chosen.base != installed:
        return replace(standing, chosen=None), ""
    if not is_there:
        return back(standing, chosen, "its files are gone", now, to="")
    if not chosen.is_trial:
        return standing, chosen.version
    if chosen.starts >= TRIES:
        return back(standing, chosen, f"it ended {TRIES} times before it was well", now)
    return replace(standing, chosen=replace(chosen, starts=chosen.starts + 1)), chosen.version


def back(
    standing: Standing, chosen: Chosen, why: str, now: float, *, to: str | None = None
) -> tuple[Standing, str]:
    """Return how it stands once the version before is to run, and that version."""
    before = chosen.before if to is None else to
    report = UpdateReport(
        Said.FAILED,
        chosen.version,
        chosen.update_id,
        before or chosen.base,
        "update.rolled_back",
        f"{chosen.version} was given up: {why}; {before or chosen.base} runs again",
    )
    earlier = Chosen(before, chosen.base, is_trial=False) if before else None
    after = replace(standing, chosen=earlier, waiting=None)
    return (after.ended(chosen.mark, report.as_fields(now)) if chosen.is_trial else after), before


def launch(data: Path, installed: str, arguments: Sequence[str], now: float) -> None:
    """Become the version that is to run; return when that is this one, or when nothing can be kept on the disk."""
    if launched():
        return
    folder = versions_folder(data)
    before = load(folder)
    is_there = before.chosen is not None and os.access(python_of(data, before.chosen.version), os.X_OK)
    after, version = choose(before, installed, now, is_there=is_there)
    if after != before:
        try:
            save(folder, after)
        except OSError:  # a start that cannot be counted is not made
            return
    if version:
        _become(data, version, after.chosen, arguments)


def _become(data: Path, version: str, chosen: Chosen | None, arguments: Sequence[str]) -> None:
    python = str(python_of(data, version))
    environment = {**os.environ, LAUNCHED: version, BASE: sys.executable}
    if chosen is not None and chosen.is_trial:
        signal.alarm(chosen.trial_s + _ALARM_AFTER_S)
    sys.stdout.flush()
    try:
        words = [python, "-P", "-m", "iotistic", "agent-process", *arguments]
        os.execve(python, words, environment)  # noqa: S606  ourselves, verified when it was installed
    except OSError:
        signal.alarm(0)
