"""What Docker says of a container, read as the planner compares it.

What was wanted stands on the container as a label and is the base. People can change limits and restart policy
of a living container, so there Docker's word counts, unless it says no more than what our own would come to
(a reservation of CPU is rounded to a weight). A container of an earlier agent has no such label and is read
from Docker alone, without what its image brings.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from iotistic.agent.engines.docker import names
from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.docker.making import amounts, shares
from iotistic.planning.model import (
    Container,
    Mount,
    Named,
    Port,
    Resources,
    Restart,
    ServiceConfig,
    Status,
)
from iotistic.planning.writing import read_written

_CORE, _SHARES_OF_A_CORE = 1_000_000_000, 1024
_USUAL_STOP_S = 10
_SHORT_ID = 12


@dataclass(frozen=True)
class Inspected:
    """A container of ours, as it is and as Docker describes it."""

    container: Container
    document: Json

    @property
    def docker_name(self) -> str:
        """What it is called in Docker."""
        return str(self.document["Name"]).removeprefix("/")

    @property
    def labels(self) -> Json:
        """Its labels."""
        return part(self.document, "Config", "Labels")

    @property
    def service_name(self) -> str:
        """The name of the service that it works for, or is to work for."""
        return names.service_name_of(self.docker_name, self.labels) or str(self.labels[names.SERVICE_NAME])

    @property
    def docker_name_is_its_own(self) -> bool:
        """Whether it is called as the one container of its service, and not as one beside it."""
        return names.service_name_of(self.docker_name, self.labels) is not None

    @property
    def networks(self) -> dict[str, Json]:
        """Its place in each of its app's networks, by their names in Docker."""
        prefix = f"{self.container.key.app_id}_"
        return {name: place for name, place in all_networks(self.document).items() if name.startswith(prefix)}

    @property
    def wanted_networks(self) -> list[str]:
        """The networks that it is to be in, by their names in Docker."""
        app_id = self.container.key.app_id
        return [names.full_name(Named(app_id, name)) for name in sorted(self.container.config.networks)]

    @property
    def leads(self) -> bool:
        """Whether it is the one that is found under its service's name, and not one beside it."""
        name = names.service_name_of(self.docker_name, self.labels)
        return name is not None and all(name in self.aliases(network) for network in self.wanted_networks)

    def aliases(self, network: str) -> list[str]:
        """Return what it is called in a network, without the short id that some releases of Docker add.

        No more of the id counts than that: a service may be called `db`, and an id begin so.
        """
        found = entries(part(self.networks, network), "Aliases")
        return [alias for alias in found if alias != self.container.id[:_SHORT_ID]]


def has_config(document: Json) -> bool:
    """Say whether a container tells what was wanted of it; one of an earlier agent does not."""
    return _written(document) is not None


def read(document: Json, image: Json | None = None) -> Inspected | None:
    """Read a container, None when it is not ours; `image` is its image's description, for one without a label."""
    labels = part(document, "Config", "Labels")
    key = names.key_of(labels)
    if key is None:
        return None
    config = _written(document) or _found(document, key.app_id, image or {})
    state = document["State"]
    status = Status(state["Status"])
    container = Container(
        id=document["Id"],
        key=key,
        name=str(document["Name"]).removeprefix("/"),
        config=_as_changed(config, document["HostConfig"]),
        status=status,
        exit_code=state["ExitCode"] if status in (Status.EXITED, Status.DEAD) else None,
        started_at=seconds_of(state["StartedAt"]),
    )
    inspected = Inspected(container, document)
    if not inspected.leads:
        return inspected  # under its own name: the planner sees to it that it gets its service's
    return replace(inspected, container=replace(container, name=inspected.service_name))


def all_networks(document: Json) -> dict[str, Json]:
    """Return a container's place in each network that it is in."""
    return dict(part(document, "NetworkSettings", "Networks"))


def seconds_of(text: str) -> float:
    """Return a time of Docker's in seconds since 1970, 0 for none; Docker writes more digits than Python reads."""
    at = datetime.fromisoformat(text)
    return at.timestamp() if at.year > 1 else 0.0


def _written(document: Json) -> ServiceConfig | None:
    text = part(document, "Config", "Labels").get(names.CONFIG)
    try:
        return read_written(json.loads(text)) if text else None
    except ValueError:
        return None


def _as_changed(config: ServiceConfig, host: Json) -> ServiceConfig:
    resources = config.resources
    asked, found = amounts(resources), _amounts(host)
    changed = {
        field: found[name] or None if found[name] != asked[name] else getattr(resources, field)
        for field, name in (
            ("cpu_limit", "NanoCpus"),
            ("memory_limit", "Memory"),
            ("memory_request", "MemoryReservation"),
        )
    }
    if found["CpuShares"] != shares(resources.cpu_request):
        changed["cpu_request"] = found["CpuShares"] * _CORE // _SHARES_OF_A_CORE or None
    return replace(config, resources=replace(resources, **changed), restart=_restart(host))


def _amounts(host: Json) -> dict[str, int]:
    found = {name: host.get(name) or 0 for name in amounts(Resources())}
    period, quota = host.get("CpuPeriod") or 0, host.get("CpuQuota") or 0
    if not found["NanoCpus"] and period and quota > 0:
        found["NanoCpus"] = quota * _CORE // period
    return found


def _restart(host: Json) -> Restart:
    return Restart(part(host, "RestartPolicy").get("Name") or "no")


def _found(document: Json, app_id: str, image: Json) -> ServiceConfig:
    """Read what was wanted from what came of it."""
    config, host = document["Config"], document["HostConfig"]
    brought = part(image, "Config")
    mode = host.get("NetworkMode") or ""
    networks = [
        found.removeprefix(f"{app_id}_") for found in all_networks(document) if found.startswith(f"{app_id}_")
    ]
    command = entries(config, "Cmd")
    labels = {name: str(value) for name, value in part(config, "Labels").items()}
    given = set(labels.items()) - set(part(brought, "Labels").items())
    return ServiceConfig(
        image=config["Image"],
        environment=frozenset(
            _pair(entry) for entry in set(entries(config, "Env")) - set(entries(brought, "Env"))
        ),
        ports=frozenset(_ports(part(host, "PortBindings"))),
        mounts=frozenset(_mount(bind, app_id) for bind in entries(host, "Binds")),
        networks=frozenset(networks),
        network_mode=mode if mode in ("host", "none") else "",
        labels=frozenset(entry for entry in given if not entry[0].startswith(names.OURS)),
        command=() if command == entries(brought, "Cmd") else tuple(command),
        stop_timeout_s=config.get("StopTimeout") or _USUAL_STOP_S,
    )


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value


def _ports(bindings: Json) -> list[Port]:
    found: list[Port] = []
    for inside in bindings:
        port, _, protocol = inside.partition("/")
        for one in entries(bindings, inside):
            address = "" if one.get("HostIp") == "0.0.0.0" else one.get("HostIp") or ""
            found.append(Port(int(one["HostPort"] or 0), int(port), protocol or "tcp", address))
    return found


def _mount(bind: str, app_id: str) -> Mount:
    source, target, mode = (*bind.split(":"), "rw")[:3]
    return Mount(source.removeprefix(f"{app_id}_"), target, mode.startswith("ro"))
