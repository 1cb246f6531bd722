"""Writes docs/reference/settings.md from the settings classes: `.venv/bin/python scripts/settings_reference.py`.

A unit test compares the page with `page()`, so that it cannot fall behind.
"""

# ruff: noqa: INP001  a script is no package

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.entrypoints.api import ApiSettings
from iotistic.entrypoints.authority import AuthoritySettings as AuthorityClientSettings
from iotistic.entrypoints.broker import BrokerSettings
from iotistic.entrypoints.commands.simulate import SimulatorSettings
from iotistic.entrypoints.connector import ConnectorSettings
from iotistic.entrypoints.control.process import ControlProcessSettings
from iotistic.entrypoints.ingest import WorkerSettings
from iotistic.entrypoints.installation import ClientSettings
from iotistic.entrypoints.iotctl.settings import IotctlSettings
from iotistic.entrypoints.maintenance import MaintenanceSettings
from iotistic.entrypoints.pki import PkiProcessSettings
from iotistic.entrypoints.prepare import PrepareSettings
from iotistic.entrypoints.processor import ProcessorSettings
from iotistic.entrypoints.sink import SinkSettings
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.kernel.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"

PROCESSES: dict[str, type[Settings]] = {
    "up": UpSettings,
    "ingest": WorkerSettings,
    "api": ApiSettings,
    "pki": PkiProcessSettings,
    "maintenance": MaintenanceSettings,
    "control": ControlProcessSettings,
    "connector": ConnectorSettings,
    "processor": ProcessorSettings,
    "sink": SinkSettings,
    "broker": BrokerSettings,
    "prepare": PrepareSettings,
    "agent": AgentProcessSettings,
    "iotctl": IotctlSettings,
    "simulate": SimulatorSettings,
    "commands": ClientSettings,
    "cert": AuthorityClientSettings,
}
_TITLES = {
    "Mqtt": "Broker",
    "Pki": "HTTPS of the certificate authority",
    "Authority": "Certificate authority",
    "Mqtt link": "The agent's broker",
    "Interval": "The agent's intervals",
    "Agent log": "The agent's logs",
    "Sensor": "The agent's sensors",
    "Device api": "Device API",
    "Job": "Jobs",
}
# Not a fact about the setting, but about whoever runs this script.
_DEFAULTS = {"IOTISTIC_HOME": "`$XDG_STATE_HOME/iotistic`, else `~/.local/state/iotistic`"}
_INTRO = """<!-- Made by scripts/settings_reference.py; change the docstrings in the settings classes instead. -->
# Settings

Every setting is an environment variable. Any of them may be given as `NAME_FILE`, the path of a file that holds
the value; this is how secrets should arrive. An empty variable counts as not set. A process reads its settings
once, at its start, and refuses to start with a list of all faults.

`iotistic up` hands its environment on to the processes it starts, so a setting of `ingest` or `maintenance` is
given to `up`. It chooses ports and makes secrets itself, and tells its children; those settings matter only to
somebody who runs the processes without `up`.

The column "read by" names the processes: `commands` are the ones that ask the API (`status`, `watch`, `query`,
`devices`, `dead-letters`), `cert` is `iotistic cert`. `iotistic db` reads what `up` and `maintenance` read about
the database and retention."""


def page() -> str:
    """Return the whole page."""
    sections = [_section(group, fields) for group, fields in _groups().items()]
    return "\n\n".join([_INTRO, *sections]) + "\n"


def _groups() -> dict[type[Settings], list[str]]:
    """Return every settings class that declares fields, with them, in the order in which processes meet them."""
    found: dict[type[Settings], list[str]] = {}
    for process in PROCESSES.values():
        for group in (*process.__mro__[1:], process):
            own = [name for name in inspect.get_annotations(group) if name in process.model_fields]
            if own and issubclass(group, Settings):
                found.setdefault(group, own)
    return found


def _section(group: type[Settings], names: list[str]) -> str:
    lines = [f"## {_title(group)}", "", _one_line(group.__doc__ or ""), ""]
    lines += ["| Variable | Default | Meaning | Read by |", "|---|---|---|---|"]
    meanings = _meanings(group)
    lines += [_row(name, group.model_fields[name], group, meanings.get(name, "")) for name in names]
    return "\n".join(lines)


def _meanings(group: type[Settings]) -> dict[str, str]:
    """Return the string below each field, which Python itself throws away."""
    lines = next(ast.iter_child_nodes(ast.parse(textwrap.dedent(inspect.getsource(group)))))
    found: dict[str, str] = {}
    for field, below in itertools.pairwise(ast.iter_child_nodes(lines)):
        match field, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = inspect.cleandoc(text)
            case _:
                pass
    return found


def _title(group: type[Settings]) -> str:
    users = [process for process, settings in PROCESSES.items() if settings is group]
    if users:
        return f"Of `{users[0]}` alone"
    name = group.__name__.removesuffix("Settings")
    return _TITLES.get(name, " ".join(re.findall(r"[A-Z][a-z]+", name)).capitalize())


def _row(name: str, field: FieldInfo, group: type[Settings], meaning: str) -> str:
    users = ", ".join(_users(name, group))
    text = _one_line(meaning) + "".join(_bounds(field))
    return f"| `{name.upper()}` | {_default(name, field)} | {text} | {users} |"


def _users(name: str, group: type[Settings]) -> Iterator[str]:
    for process, settings in PROCESSES.items():
        if issubclass(settings, group) and name in settings.model_fields:
            yield process


def _default(name: str, field: FieldInfo) -> str:
    if fixed := _DEFAULTS.get(name.upper()):
        return fixed
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=False)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return "not set"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _bounds(field: FieldInfo) -> Iterator[str]:
    names = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [
        f"{word} {getattr(rule, key)}"
        for rule in field.metadata
        for key, word in names.items()
        if getattr(rule, key, None) is not None
    ]
    if found:
        yield f" ({', '.join(found)})"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(Path.cwd())} written\n")
