"""Figures of a machine. Shares are percents, sizes bytes, temperatures degrees Celsius; None is not known."""

from typing import NamedTuple


class Process(NamedTuple):
    """A process; `cpu` in percent of one core since the last look."""

    pid: int
    name: str
    cpu: float
    mem: float


class Interface(NamedTuple):
    """A network interface as reports name it."""

    name: str
    ip4: str | None
    ip6: str | None
    mac: str | None
    type: str
    default: bool
    virtual: bool
    operstate: str
    received_bytes: int
    sent_bytes: int


class Memory(NamedTuple):
    """Memory of the machine."""

    used: int
    total: int


class Storage(NamedTuple):
    """Space of the filesystem that holds the agent's data."""

    used: int
    total: int


class Glance(NamedTuple):
    """What changes all the time, and costs little to read."""

    cpu_usage: float | None
    temperature: float | None
    memory: Memory
    storage: Storage


class Machine(NamedTuple):
    """One look."""

    cpu_usage: float | None
    temperature: float | None
    memory: Memory
    storage: Storage
    uptime_s: float
    interfaces: tuple[Interface, ...]
    top_processes: tuple[Process, ...]
    agent_memory: int
    agent_cpu: float | None
