"""A service, as Docker is asked for a container of it.

What was wanted is written onto the container as a label, so that whoever compares has it as it was meant:
Docker adds the image's environment, rounds amounts and lists things in its own order.
"""

import json
from typing import Any

from iotistic.agent.engines.docker import names
from iotistic.planning.model import Mount, Named, Port, Resources, Service, ServiceConfig
from iotistic.planning.writing import write_config

_CORE = 1_000_000_000
_SHARES_OF_A_CORE = 1024
_LEAST_SHARES = 2


def container_body(service: Service, *, leads: bool) -> dict[str, Any]:
    """Return the body of a request to create a container; one that leads is known by the service's name."""
    config, app_id = service.config, service.key.app_id
    networks = sorted(config.networks)[:1]
    body: dict[str, Any] = {
        "Image": config.image,
        "Env": [f"{name}={value}" for name, value in sorted(config.environment)],
        "Labels": _labels(service),
        "ExposedPorts": {_inside(port): {} for port in config.ports},
        "StopTimeout": config.stop_timeout_s,
        "HostConfig": host_config(config, app_id),
        "NetworkingConfig": {
            "EndpointsConfig": {
                names.full_name(Named(app_id, name)): endpoint(service.name if leads else "")
                for name in networks
            }
        },
    }
    if config.command:
        body["Cmd"] = list(config.command)
    return body


def host_config(config: ServiceConfig, app_id: str) -> dict[str, Any]:
    """Return what a container has of its device."""
    first = sorted(config.networks)[:1]
    mode = config.network_mode or "".join(names.full_name(Named(app_id, name)) for name in first)
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in sorted(config.ports):
        bindings.setdefault(_inside(port), []).append({"HostIp": port.address, "HostPort": str(port.host)})
    body: dict[str, Any] = {
        "Binds": [_bind(mount, app_id) for mount in sorted(config.mounts)],
        "PortBindings": bindings,
        "RestartPolicy": {"Name": str(config.restart)},
        **amounts(config.resources),
    }
    return body | ({"NetworkMode": mode} if mode else {})


def amounts(resources: Resources) -> dict[str, int]:
    """Return limits and reservations in Docker's terms; 0 is none.

    Docker lets a container swap as much again as its limit of memory, unless it is told; when a limit is
    raised it has to be told.
    """
    memory = resources.memory_limit or 0
    return {
        "NanoCpus": resources.cpu_limit or 0,
        "Memory": memory,
        "MemorySwap": 2 * memory,
        "CpuShares": shares(resources.cpu_request),
        "MemoryReservation": resources.memory_request or 0,
    }


def shares(cpu: int | None) -> int:
    """Return a reservation of CPU as Docker's relative weight: 1024 for a core."""
    return 0 if cpu is None else max(cpu * _SHARES_OF_A_CORE // _CORE, _LEAST_SHARES)


def endpoint(alias: str, address: str = "") -> dict[str, Any]:
    """Return how a container is in a network: known by a name, at an address, or neither."""
    body: dict[str, Any] = {"Aliases": [alias]} if alias else {}
    return body | ({"IPAMConfig": {"IPv4Address": address}} if address else {})


def _labels(service: Service) -> dict[str, str]:
    return {
        **dict(service.config.labels),
        names.APP_ID: service.key.app_id,
        names.APP_NAME: service.app_name or service.key.app_id,
        names.SERVICE_ID: service.key.service_id,
        names.SERVICE_NAME: service.name,
        names.CONFIG: json.dumps(write_config(service.config), separators=(",", ":")),
    }


def _inside(port: Port) -> str:
    return f"{port.container}/{port.protocol}"


def _bind(mount: Mount, app_id: str) -> str:
    source = names.full_name(Named(app_id, mount.source)) if mount.is_volume else mount.source
    return f"{source}:{mount.target}{':ro' if mount.read_only else ''}"
