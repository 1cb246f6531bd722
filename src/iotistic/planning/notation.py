"""How single values of a target state are written: ids, names, images, ports, volumes, labels."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from iotistic.planning.faults import pairs, shown, text
from iotistic.planning.model import Mount, Port, Strategy

E = TypeVar("E", bound=StrEnum)

MOST_PORT = 65_535
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_ID = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_IMAGE = re.compile(r"[a-z0-9][^\s]{0,511}")
_PORT = re.compile(r"(?:(\[[0-9a-fA-F:]+\]|\d+(?:\.\d+){3}):)?(\d+):(\d+)(?:/(tcp|udp))?")
_MODE = re.compile(r"host|none|bridge")


def identifier(value: object) -> str:
    """Read an id, a text or a number. Raises ValueError."""
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise ValueError(f"is to be a number, or 1 to 64 letters, digits, dots or dashes, not {shown(value)}")
    return found


def is_identifier(value: str) -> bool:
    """Say whether a text may be an id."""
    return _ID.fullmatch(value) is not None


def name_of(value: object) -> str:
    """Read a name of an app, service or network. Raises ValueError."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(
            f"is to be a name of letters, digits, dots, dashes and underscores, not {shown(value)}"
        )
    return value


def image_of(value: object) -> str:
    """Read the name of an image. Raises ValueError."""
    if not isinstance(value, str) or not _IMAGE.fullmatch(value):
        raise ValueError(f"is to be the name of an image, not {shown(value)}")
    return value


def port_of(value: object) -> Port:
    """Read `[address:]host:container[/udp]`. Raises ValueError."""
    found = _PORT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'is to be like "8080:80", "53:53/udp" or "127.0.0.1:8080:80", not {shown(value)}')
    address, host, container, protocol = found.groups()
    numbers = int(host), int(container)
    if not all(1 <= number <= MOST_PORT for number in numbers):
        raise ValueError(f"a port is from 1 to {MOST_PORT}, not {shown(value)}")
    return Port(*numbers, protocol or "tcp", (address or "").strip("[]"))


def mount_of(value: object) -> Mount:
    """Read `name:/path[:ro]` or `/folder:/path[:ro]`. Raises ValueError."""
    parts = text(value).split(":")
    source, target, mode = (*parts, "rw")[:3] if len(parts) in (2, 3) else ("", "", "")
    well_formed = (source.startswith("/") or _NAME.fullmatch(source)) and target.startswith("/")
    if not well_formed or mode not in ("ro", "rw") or ".." in f"{source}/{target}".split("/"):
        raise ValueError(f'is to be like "data:/var/lib/data" or "/etc/app:/etc/app:ro", not {shown(value)}')
    return Mount(source, target.rstrip("/") or "/", mode == "ro")


def strategy_of(value: object) -> Strategy:
    """Read a strategy; `handover` is the other spelling of `hand-over`. Raises ValueError."""
    return choice(Strategy)("hand-over" if value == "handover" else value)


def choice(kinds: type[E]) -> Callable[[object], E]:
    """Return a reader of one of the values of an enumeration."""

    def read(value: object) -> E:
        try:
            return kinds(value)
        except ValueError:
            known = ", ".join(str(kind) for kind in kinds)
            raise ValueError(f"is one of {known}, not {shown(value)}") from None

    return read


def labels_of(value: object) -> frozenset[tuple[str, str]]:
    """Read labels; those of the agent itself are not for others to set. Raises ValueError."""
    labels = pairs(value)
    if ours := sorted(name for name, _ in labels if name.startswith("iotistic.")):
        raise ValueError(f"labels that begin with iotistic. are the agent's own: {', '.join(ours)}")
    return labels


def mode_of(value: object) -> str:
    """Read a network mode; empty for the usual one. Raises ValueError."""
    found = text(value)
    if not _MODE.fullmatch(found):
        raise ValueError(f"is one of host, none, bridge, not {shown(value)}")
    return "" if found == "bridge" else found


def scheme_of(value: object) -> str:
    """Read http or https. Raises ValueError."""
    found = text(value).lower()
    if found not in ("http", "https"):
        raise ValueError(f"is http or https, not {shown(value)}")
    return found
