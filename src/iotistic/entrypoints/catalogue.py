"""Every command's name, module and summary, as plain data.

`iotistic --help` and the child processes read only this, which keeps them out of the 300 ms that the
argument parser and the table renderer take to load.
"""

from dataclasses import dataclass

import iotistic

_COMMANDS = "iotistic.entrypoints.commands"


@dataclass(frozen=True)
class Command:
    """A user command: `target` is `module:attribute` of its cyclopts app."""

    name: str
    summary: str
    group: str

    @property
    def target(self) -> str:
        """Where the command's app is imported from."""
        return f"{module_of(self.name)}:app"


COMMANDS: tuple[Command, ...] = (
    Command("up", "Start everything on this machine and show a live table.", "Run"),
    Command("agent", "Keep this machine's containers equal to a target state.", "Run"),
    Command("status", "Say what runs, where, and whether it is healthy.", "Run"),
    Command("doctor", "Check ports, disk, clock, versions, broker and database; say the fix.", "Run"),
    Command("watch", "Show devices, last values and throughput, live.", "Look"),
    Command("query", "Show one series as a chart, a table, CSV or JSON.", "Look"),
    Command("devices", "List devices, or show one with its datapoints.", "Look"),
    Command("ledger", "Say what was sent, what is stored, and what is missing.", "Look"),
    Command("why", "Say why a device is offline, not updated, limited, or was rolled back.", "Look"),
    Command("target", "Show what a device is to be, and what waits.", "Look"),
    Command("dead-letters", "List, show, replay or purge what could not be stored.", "Look"),
    Command("deploy", "Deploy a target from a file to a device, and watch it.", "Manage"),
    Command("cert", "Issue, list and revoke device certificates.", "Manage"),
    Command("users", "Make the first owner of the control plane.", "Manage"),
    Command("audit", "Check that the audit trail was not changed.", "Manage"),
    Command("tasks", "List background work, run it now, switch it off and on.", "Manage"),
    Command("db", "Show and run the database's migrations.", "Manage"),
    Command("train", "Train forecasters for the anomaly detection.", "Manage"),
    Command("simulate", "Run simulated devices against the broker.", "Try"),
    Command("bench", "Measure this machine and compare with the goals.", "Try"),
    Command("completion", "Print or install shell completion.", "Other"),
    Command("version", "Print the version.", "Other"),
)

# Started by `up`, or by a service manager; hidden from people.
PROCESSES: dict[str, str] = {
    "ingest": "iotistic.entrypoints.ingest",
    "api": "iotistic.entrypoints.api",
    "pki": "iotistic.entrypoints.pki",
    "maintenance": "iotistic.entrypoints.maintenance",
    "control": "iotistic.entrypoints.control.process",
    "connector": "iotistic.entrypoints.connector",
    "processor": "iotistic.entrypoints.processor",
    "sink": "iotistic.entrypoints.sink",
    "broker": "iotistic.entrypoints.broker",
    "prepare": "iotistic.entrypoints.prepare",
    "agent-process": "iotistic.entrypoints.agent.main",
}

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "failed, or a check did not pass",
    2: "the request cannot be understood or breaks a rule",
    3: "the credential is missing, wrong, or does not allow this",
    4: "there is no such thing",
    5: "the present state does not allow this",
    6: "something this depends on is away; try again",
    130: "interrupted by Ctrl-C",
}


def module_of(command: str) -> str:
    """Return the module of a command."""
    return f"{_COMMANDS}.{command.replace('-', '_')}"


def version() -> str:
    """Return the installed version."""
    return iotistic.__version__


def overview() -> str:
    """Return the text of `iotistic --help`."""
    lines = ["Usage: iotistic COMMAND [OPTIONS]", "", "An open IoT platform, from the device to the invoice."]
    width = max(len(command.name) for command in COMMANDS)
    group = ""
    for command in COMMANDS:
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"]
        lines.append(f"  {command.name:<{width}}  {command.summary}")
    lines += ["", "Every command takes --help, and --json for programs."]
    lines += ["IOTISTIC_HOME is the folder with all state.", "", "Exit codes:"]
    lines += [f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join(lines)
