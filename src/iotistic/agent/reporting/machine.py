"""The figures of a machine as reports name them. Pure."""

from typing import Any

from iotistic.agent.metrics.model import Interface, Machine

_MIB = 1024 * 1024


def describe_machine(machine: Machine) -> dict[str, Any]:
    """Return what changes all the time: percents, sizes in bytes, degrees Celsius, seconds; unknown is left out.

    The agent's own share stands beside the machine's, so that nobody has to guess what it costs.
    """
    figures: dict[str, Any] = {
        "cpu_usage": _rounded(machine.cpu_usage),
        "memory_usage": machine.memory.used,
        "memory_total": machine.memory.total,
        "storage_usage": machine.storage.used,
        "storage_total": machine.storage.total,
        "temperature": _rounded(machine.temperature),
        "uptime": round(machine.uptime_s),
        "agent_cpu": None if machine.agent_cpu is None else round(machine.agent_cpu, 2),
        "agent_memory": machine.agent_memory // _MIB * _MIB,
    }
    if machine.top_processes:
        figures["top_processes"] = [one._asdict() for one in machine.top_processes]
    return {name: value for name, value in figures.items() if value is not None}


def describe_interfaces(interfaces: tuple[Interface, ...]) -> list[dict[str, Any]]:
    """Return `network_interfaces` of a report: what rarely changes of them."""
    return [
        {
            "name": one.name,
            "ip4": one.ip4,
            "ip6": one.ip6,
            "mac": one.mac,
            "type": one.type,
            "default": one.default,
            "virtual": one.virtual,
            "operstate": one.operstate,
        }
        for one in interfaces
        if not _is_of_a_container(one)
    ]


def local_ip(interfaces: tuple[Interface, ...]) -> str | None:
    """Return the address that the device has towards the world."""
    found = [one.ip4 for one in interfaces if one.default and one.ip4]
    return found[0] if found else None


def _is_of_a_container(one: Interface) -> bool:
    """Whether it is the device's end of a container's network: they come and go with each start."""
    return one.virtual and one.name.startswith(("veth", "br-"))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
