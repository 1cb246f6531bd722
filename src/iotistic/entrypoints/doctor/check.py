"""One finding of the doctor."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check went; only `failed` keeps the installation from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it (empty when nothing)."""

    check: str
    state: State
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, State.OK, found)


def warning(check: str, found: str, fix: str) -> Finding:
    """Return a finding that should be looked at."""
    return Finding(check, State.WARNING, found, fix)


def failed(check: str, found: str, fix: str) -> Finding:
    """Return a finding that keeps things from working."""
    return Finding(check, State.FAILED, found, fix)


def skipped(check: str, found: str) -> Finding:
    """Return that a check could not be made, and why."""
    return Finding(check, State.SKIPPED, found)
