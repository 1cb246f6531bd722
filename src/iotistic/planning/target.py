"""The target state as clouds write it, read into values: everything is understood, or refused by its name.

    {"apps": {"7": {"appId": 7, "appName": "shop", "services": [...]}}, "options": {...}, ...}

A service may have its configuration flat beside its name, as older clouds write it. Nothing is ignored: a
key that is not known would otherwise be a wish that silently does not come true.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar, cast

from iotistic.planning.faults import Fault, Reader, pairs, seconds, shown, text, truth, whole
from iotistic.planning.model import (
    App,
    Options,
    Port,
    Probe,
    ProbeKind,
    Probes,
    Resources,
    Restart,
    Service,
    ServiceConfig,
    ServiceKey,
    ServiceState,
    Target,
)
from iotistic.planning.notation import (
    MOST_PORT,
    choice,
    identifier,
    image_of,
    is_identifier,
    labels_of,
    mode_of,
    mount_of,
    name_of,
    port_of,
    scheme_of,
    strategy_of,
)
from iotistic.planning.quantities import parse_cpu, parse_memory

T = TypeVar("T")

_DAY_S = 86_400
_FLAT = (
    "image",
    "environment",
    "ports",
    "volumes",
    "networks",
    "networkMode",
    "restart",
    "labels",
    "resources",
)
_COMPOSE: dict[str, str] = dict.fromkeys(
    ("build", "privileged", "devices", "cap_add", "depends_on", "env_file", "healthcheck", "secrets", "user"),
    "is a key of compose files that is not supported",
)
_TOP = ("config", "version", "needs_deployment", "last_deployed_at")


class Reading(NamedTuple):
    """A target, and everything that is wrong with what it was read from; it is to be used only without."""

    target: Target
    faults: list[Fault]


def read_target(document: object) -> Reading:
    """Read one device's target state. Settings of the device itself, in `config`, are none of a plan's business."""
    faults: list[Fault] = []
    state = Reader(document, "", faults)
    for name in _TOP:
        state.raw(name)
    apps = state.inner("apps")
    found = [_read_app(app_id, value, apps) for app_id, value in apps.items()] if apps else []
    options = _read_options(state.inner("options"))
    state.refuse_others()
    target = Target(tuple(sorted(found, key=lambda app: app.id)), options)
    _refuse_twice(target, faults)
    _refuse_shared_ports(target, faults)
    return Reading(target, faults)


def _read_options(given: Reader | None) -> Options:
    if given is None:
        return Options()
    default = Options()
    options = Options(
        keep_images=_or(given.read("keepImages", truth), default.keep_images),
        keep_volumes=_or(given.read("keepVolumes", truth), default.keep_volumes),
        force=_or(given.read("force", truth), default.force),
        fall_back=_or(given.read("fallBack", truth), default.fall_back),
    )
    given.refuse_others()
    return options


def _read_app(app_id: str, value: object, apps: Reader) -> App:
    app = Reader(value, apps.at(app_id), apps.faults)
    if not is_identifier(app_id):
        app.fault("", "an app's id has 1 to 64 letters, digits, dots, dashes or underscores")
    if (said := app.read("appId", identifier)) not in (None, app_id):
        app.fault("appId", f"is {shown(said)}, but the app stands under {shown(app_id)}")
    name = app.read("appName", name_of) or app_id
    app.raw("appUuid")
    services = app.each("services", lambda entry: entry)
    rolling = _or(app.read("rollingUpdate", truth), default=False)
    app.refuse_others()
    read = [
        replace(_read_service(entry, app_id, app.at(f"services[{index}]"), apps.faults), app_name=name)
        for index, entry in enumerate(services)
    ]
    return App(app_id, name, tuple(sorted(read, key=lambda service: service.key)), rolling)


def _read_service(value: object, app_id: str, path: str, faults: list[Fault]) -> Service:
    service = Reader(value, path, faults)
    service_id = service.read("serviceId", identifier)
    name = service.read("serviceName", name_of)
    if not service.has("serviceId"):
        service.fault("serviceId", "is missing")
    if not service.has("serviceName"):
        service.fault("serviceName", "is missing")
    if (said := service.read("appId", identifier)) not in (None, app_id):
        service.fault("appId", f"is {shown(said)}, but the service is of app {shown(app_id)}")
    service.read("appName", text)
    state = service.read("state", choice(ServiceState)) or ServiceState.RUNNING
    image = service.read("imageName", image_of)
    config = read_config(service, image)
    service.refuse_others(_COMPOSE)
    return Service(ServiceKey(app_id, service_id or ""), name or "", config, state)


def read_config(service: Reader, image: str | None) -> ServiceConfig:
    """Read the configuration: in `config`, with what stands flat beside the service's name below it."""
    flat: dict[str, object] = {name: service.raw(name) for name in _FLAT if service.has(name)}
    given = service.raw("config")
    if given is not None and not isinstance(given, dict):
        service.fault("config", f"is to be an object, not {shown(given)}")
        given = None
    merged = {**flat, **cast("Mapping[str, object]", given or {})}
    config = Reader(merged, service.at("config"), service.faults)
    read_image = config.read("image", image_of) or image
    if read_image is None and not config.has("image"):
        config.fault("image", "is missing")
    default = ServiceConfig("")
    result = ServiceConfig(
        image=read_image or "",
        environment=_or(config.read("environment", pairs), default.environment),
        ports=frozenset(config.each("ports", port_of)),
        mounts=frozenset(config.each("volumes", mount_of)),
        networks=frozenset(config.each("networks", name_of)),
        network_mode=_or(config.read("networkMode", mode_of), default.network_mode),
        labels=_or(config.read("labels", labels_of), default.labels),
        command=tuple(config.each("command", text)),
        restart=config.read("restart", choice(Restart)) or default.restart,
        resources=_read_resources(config.inner("resources")),
        probes=_read_probes(config),
        stop_timeout_s=_or(config.read("stopTimeoutSeconds", whole(0, 3600)), default.stop_timeout_s),
        strategy=config.read("updateStrategy", strategy_of) or default.strategy,
        handover_s=_or(config.read("handoverSeconds", whole(0, 3600)), default.handover_s),
    )
    config.refuse_others(_COMPOSE)
    _refuse_contradictions(result, config)
    return result


def _read_resources(given: Reader | None) -> Resources:
    if given is None:
        return Resources()
    limits, requests = given.inner("limits"), given.inner("requests")
    given.refuse_others()
    return Resources(*_read_amounts(limits), *_read_amounts(requests))


def _read_amounts(given: Reader | None) -> tuple[int | None, int | None]:
    if given is None:
        return None, None
    amounts = given.read("cpu", parse_cpu), given.read("memory", parse_memory)
    given.refuse_others()
    return amounts


def _read_probes(config: Reader) -> Probes:
    return Probes(
        startup=_read_probe(config.inner("startupProbe")),
        liveness=_read_probe(config.inner("livenessProbe")),
        readiness=_read_probe(config.inner("readinessProbe")),
    )


def _read_probe(given: Reader | None) -> Probe | None:
    if given is None:
        return None
    kind = given.read("type", choice(ProbeKind))
    if not given.has("type"):
        given.fault("type", "is missing")
    port = given.read("port", whole(1, MOST_PORT)) or given.read("tcpPort", whole(1, MOST_PORT))
    given.raw("tcpPort")
    default = Probe(ProbeKind.TCP)
    probe = Probe(
        kind or ProbeKind.TCP,
        path=_or(given.read("path", text), default.path),
        port=port or 0,
        scheme=given.read("scheme", scheme_of) or default.scheme,
        headers=_or(given.read("headers", pairs), default.headers),
        expected_status=frozenset(given.each("expectedStatus", whole(100, 599))),
        command=tuple(given.each("command", text)),
        initial_delay_s=_or(given.read("initialDelaySeconds", seconds(_DAY_S)), default.initial_delay_s),
        period_s=_or(given.read("periodSeconds", seconds(_DAY_S)), default.period_s),
        timeout_s=_or(given.read("timeoutSeconds", seconds(3600)), default.timeout_s),
        success_threshold=_or(given.read("successThreshold", whole(1, 100)), default.success_threshold),
        failure_threshold=_or(given.read("failureThreshold", whole(1, 1000)), default.failure_threshold),
    )
    given.refuse_others()
    if kind is ProbeKind.EXEC and not probe.command:
        given.fault("command", "is missing: a probe of type exec runs it")
    if kind in (ProbeKind.HTTP, ProbeKind.TCP) and not probe.port:
        given.fault("port", "is missing")
    return probe


def _refuse_contradictions(config: ServiceConfig, at: Reader) -> None:
    if config.network_mode and config.networks:
        at.fault("networkMode", "cannot stand beside networks")
    if config.network_mode in ("host", "none") and config.ports:
        at.fault("ports", f"have no meaning with networkMode {config.network_mode}")
    targets = [mount.target for mount in config.mounts]
    if len(set(targets)) < len(targets):
        at.fault("volumes", "two of them stand at the same place in the container")
    ports = sorted(config.ports)
    if any(one.clashes(other) for index, one in enumerate(ports) for other in ports[index + 1 :]):
        at.fault("ports", "two of them are the same port of the device")


def _refuse_twice(target: Target, faults: list[Fault]) -> None:
    for app in target.apps:
        path = f"apps.{app.id}.services"
        for what, values in (
            ("serviceId", [service.key.service_id for service in app.services]),
            ("serviceName", [service.name for service in app.services]),
        ):
            twice = sorted({value for value in values if value and values.count(value) > 1})
            faults += [Fault(path, f"the {what} {value} stands there twice") for value in twice]


def _refuse_shared_ports(target: Target, faults: list[Fault]) -> None:
    """Refuse ports of the device that two services want, while both are to run: one of them never could."""
    taken: dict[tuple[int, str], list[tuple[Port, Service]]] = {}
    for app in target.apps:
        for index, service in enumerate(app.services):
            for port in sorted(_offered(service)):
                others = taken.setdefault((port.host, port.protocol), [])
                taker = next((one for its, one in others if one is not service and port.clashes(its)), None)
                if taker is not None:
                    path = f"apps.{app.id}.services[{index}].config.ports"
                    what = f"port {port.host}/{port.protocol} of the device"
                    faults.append(Fault(path, f"{what} is {taker.name}'s already"))
                others.append((port, service))


def _offered(service: Service) -> frozenset[Port]:
    is_apart = not service.config.network_mode or service.config.network_mode == "bridge"
    wanted = service.state is not ServiceState.STOPPED and is_apart
    return service.config.ports if wanted else frozenset()


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
