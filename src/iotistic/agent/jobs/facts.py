"""What a device is, as conditions of jobs ask for it."""

import platform
import socket
from collections.abc import Iterable, Mapping

from iotistic.contracts.jobs import Condition, ConditionKind


def system_facts() -> dict[str, str]:
    """Return what the operating system says; whoever puts the agent together adds to it."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return {
        "operatingSystem": release.get("ID", platform.system().lower()),
        "osVersion": release.get("VERSION_ID", ""),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "hostname": socket.gethostname(),
    }


def unmet_condition(conditions: Iterable[Condition], facts: Mapping[str, str]) -> str:
    """Return in words the first condition that this device does not meet; empty when it meets all of them."""
    for condition in conditions:
        fact = facts.get(condition.key)
        wanted = ", ".join(condition.values)
        if fact is None:
            return f"condition {condition.key}: this device does not know it (known are {', '.join(sorted(facts))})"
        if condition.kind is ConditionKind.STRING_EQUAL and fact not in condition.values:
            return f"condition {condition.key}: is {fact!r}, not one of {wanted}"
        if condition.kind is ConditionKind.STRING_NOT_EQUAL and fact in condition.values:
            return f"condition {condition.key}: is {fact!r}, which is excluded by {wanted}"
    return ""
