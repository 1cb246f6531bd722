"""A service's configuration as it is written on the wire: what `read_target` reads back as the same value."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from iotistic.planning.faults import Fault, Reader
from iotistic.planning.model import Mount, Port, Probe, ProbeKind, Resources, ServiceConfig
from iotistic.planning.target import read_config

_NANO = 1_000_000_000


def write_config(config: ServiceConfig) -> dict[str, Any]:
    """Return the configuration as JSON values; what has its default is left out, and lists are in order."""
    default = ServiceConfig(config.image)
    written: dict[str, Any] = {"image": config.image}
    writers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "environment": ("environment", _pairs),
        "ports": ("ports", lambda ports: [_port(port) for port in sorted(ports)]),
        "mounts": ("volumes", lambda mounts: [_mount(mount) for mount in sorted(mounts)]),
        "networks": ("networks", sorted),
        "network_mode": ("networkMode", str),
        "labels": ("labels", _pairs),
        "command": ("command", list),
        "restart": ("restart", str),
        "resources": ("resources", _resources),
        "stop_timeout_s": ("stopTimeoutSeconds", int),
        "strategy": ("updateStrategy", str),
        "handover_s": ("handoverSeconds", int),
    }
    for field, (name, write) in writers.items():
        if (value := getattr(config, field)) != getattr(default, field):
            written[name] = write(value)
    for name in ("startup", "liveness", "readiness"):
        if (probe := getattr(config.probes, name)) is not None:
            written[f"{name}Probe"] = _probe(probe)
    return written


def read_written(written: object) -> ServiceConfig | None:
    """Read what `write_config` wrote; None when it was changed into something that cannot be read."""
    faults: list[Fault] = []
    config = read_config(Reader({"config": written}, "", faults), None)
    return None if faults else config


def _pairs(values: Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(sorted(values))


def _port(port: Port) -> str:
    address = f"[{port.address}]" if ":" in port.address else port.address
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{address}{':' if address else ''}{port.host}:{port.container}{protocol}"


def _mount(mount: Mount) -> str:
    return f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}"


def _resources(resources: Resources) -> dict[str, dict[str, str]]:
    parts = {
        "limits": (resources.cpu_limit, resources.memory_limit),
        "requests": (resources.cpu_request, resources.memory_request),
    }
    written = {name: _amounts(*amounts) for name, amounts in parts.items()}
    return {name: amounts for name, amounts in written.items() if amounts}


def _amounts(cpu: int | None, memory: int | None) -> dict[str, str]:
    written = {} if cpu is None else {"cpu": f"{Decimal(cpu) / _NANO:f}"}
    return written if memory is None else {**written, "memory": str(memory)}


def _probe(probe: Probe) -> dict[str, Any]:
    default = Probe(probe.kind)
    written: dict[str, Any] = {"type": str(probe.kind)}
    if probe.port:
        written["tcpPort" if probe.kind is ProbeKind.TCP else "port"] = probe.port
    writers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "path": ("path", str),
        "scheme": ("scheme", str),
        "headers": ("headers", _pairs),
        "expected_status": ("expectedStatus", sorted),
        "command": ("command", list),
        "initial_delay_s": ("initialDelaySeconds", float),
        "period_s": ("periodSeconds", float),
        "timeout_s": ("timeoutSeconds", float),
        "success_threshold": ("successThreshold", int),
        "failure_threshold": ("failureThreshold", int),
    }
    for field, (name, write) in writers.items():
        if (value := getattr(probe, field)) != getattr(default, field):
            written[name] = write(value)
    return written
