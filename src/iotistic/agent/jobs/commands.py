"""A step made into what is started: words, an account, and an environment without anything of the agent's.

The environment is made from nothing: what is not named here, such as keys and passwords that the agent was
given by its own environment, cannot get into it.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iotistic.agent.jobs.errors import UserRefused
from iotistic.agent.jobs.handlers import find_handler
from iotistic.contracts.jobs import JobStep, StepKind

MARK = "IOTISTIC_JOB_MARK"
"""Variable by which the processes of an execution are known again."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True)
class Account:
    """Whom a step runs as; `uid` is None when it is whom the agent runs as."""

    name: str
    home: str
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Command:
    """What is started."""

    words: tuple[str, ...]
    account: Account
    environment: Mapping[str, str]


def command_of(step: JobStep, handlers: Path | None, named: Mapping[str, str]) -> Command:
    """Return what a step starts; `named` are variables that it gets. Raises HandlerRefused and UserRefused."""
    account = account_of(step.run_as_user)
    words = step.words
    if step.kind is StepKind.RUN_HANDLER:
        words = (str(find_handler(handlers, step.folder, words[0])), *words[1:])
    return Command(words, account, environment_of(account, os.environ) | dict(named))


def account_of(name: str) -> Account:
    """Return an account by its name, or our own for none. Raises UserRefused."""
    own = os.geteuid()
    if not name:
        return _own(own)
    try:
        found = pwd.getpwnam(name)
    except (KeyError, ValueError) as exc:
        raise UserRefused(f"there is no user {name!r} on this device") from exc
    if found.pw_uid == own:
        return Account(name, found.pw_dir)
    if own != 0:
        raise UserRefused(f"only an agent that runs as root can run a step as {name!r}")
    groups = tuple(os.getgrouplist(name, found.pw_gid))
    return Account(name, found.pw_dir, found.pw_uid, found.pw_gid, groups)


def environment_of(account: Account, ours: Mapping[str, str]) -> dict[str, str]:
    """Return a step's environment."""
    kept = {name: ours[name] for name in _KEPT if name in ours}
    user = {"HOME": account.home, "USER": account.name, "LOGNAME": account.name}
    return {"PATH": _PATH, **kept, **user}


def _own(uid: int) -> Account:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:  # a container may run under a number that has no name
        return Account(str(uid), "/")
    return Account(found.pw_name, found.pw_dir)
