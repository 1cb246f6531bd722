"""Reads the tables of tests/cases/planning: one row is one plan, in the words that its README explains."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from iotistic.planning.facts import Facts
from iotistic.planning.model import (
    App,
    Container,
    Current,
    Failures,
    Health,
    Named,
    Options,
    Probe,
    ProbeKind,
    Probes,
    Release,
    Resources,
    Restart,
    Service,
    ServiceConfig,
    ServiceKey,
    ServiceState,
    Status,
    Strategy,
    Target,
)
from iotistic.planning.notation import mount_of, port_of
from iotistic.planning.quantities import parse_cpu, parse_memory
from iotistic.planning.steps import Action, Fetch, Noop, Start, Step, UpdateMetadata

FOLDER = Path(__file__).parents[2] / "cases" / "planning"
NOW = 1000.0
APP = "1"
_COLUMNS = 5
_STRATEGIES = {str(strategy) for strategy in Strategy}


@dataclass(frozen=True)
class Case:
    """One row."""

    table: str
    name: str
    current: Current
    target: Target
    facts: Facts
    steps: str


def cases() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.md")):
        for line in path.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            if line.startswith("| ") and len(cells) == _COLUMNS and cells[0] not in ("Case", "---"):
                yield _case(path.stem, *cells)


def _case(table: str, name: str, containers: str, wanted: str, given: str, steps: str) -> Case:
    services = [_service(item) for item in _items(wanted)]
    found = _numbered([_container(item) for item in _items(containers)])
    options, facts, extra = Options(), Facts(now=NOW), _Extra()
    for item in _items(given):
        options, facts = _given(item, options, facts, extra, {service.name: service for service in services})
    current = Current(
        found,
        frozenset({one.config.image for one in found} - extra.images_gone | extra.images),
        frozenset({Named(APP, name) for one in found for name in one.config.networks} | extra.networks),
        {Named(APP, name): 0.0 for one in found for name in one.config.volumes} | extra.volumes,
    )
    apps = () if not services and extra.app_gone else (App(APP, "shop", tuple(services), extra.rolling),)
    return Case(table, name, current, Target(apps, options), facts, steps)


def _items(cell: str) -> list[str]:
    return [item.strip() for item in cell.replace("`", "").split(";") if item.strip() not in ("", "-")]


def _named(item: str) -> tuple[str, list[str]]:
    words = item.split()
    return (words[0][:-1], words[1:]) if words[0].endswith(":") else ("web", words)


def _service(item: str) -> Service:
    name, (state, image, *words) = _named(item)
    config = _configured(ServiceConfig(image), words)
    return Service(ServiceKey(APP, name), name, config, ServiceState(state))


def _container(item: str) -> Container:
    name, (status, image, *words) = _named(item)
    about = dict(
        word.split("=", 1) for word in words if word.startswith(("exit=", "health=", "age=", "named="))
    )
    own = [word for word in words if word.partition("=")[0] not in about and word != "ours"]
    return Container(
        id=name,
        key=ServiceKey(APP, name),
        name=about.get("named", name),
        config=_configured(ServiceConfig(image), own),
        status=Status(status),
        health=Health(about.get("health", "unknown")),
        exit_code=int(about["exit"]) if "exit" in about else None,
        started_at=NOW - float(about.get("age", "100")),
        stopped_by_us="ours" in words,
    )


def _numbered(containers: list[Container]) -> tuple[Container, ...]:
    seen: dict[str, int] = {}
    numbered: list[Container] = []
    for one in containers:
        seen[one.id] = seen.get(one.id, 0) + 1
        numbered.append(replace(one, id=f"{one.id}-{seen[one.id]}"))
    return tuple(numbered)


def _configured(config: ServiceConfig, words: list[str]) -> ServiceConfig:
    for word in words:
        config = _with(config, *word.partition("=")[::2])
    return config


def _with(config: ServiceConfig, name: str, value: str) -> ServiceConfig:
    pair = tuple(value.split(":", 1))
    probe = Probe(ProbeKind.TCP, port=int(value) if value.isdigit() else 80)
    changes = {
        "port": lambda: {"ports": config.ports | {port_of(value)}},
        "volume": lambda: {"mounts": config.mounts | {mount_of(value)}},
        "net": lambda: {"networks": config.networks | {value}},
        "env": lambda: {"environment": config.environment | {pair}},
        "label": lambda: {"labels": config.labels | {pair}},
        "cmd": lambda: {"command": (*config.command, value)},
        "mode": lambda: {"network_mode": value},
        "restart": lambda: {"restart": Restart(value)},
        "cpu": lambda: {"resources": replace(config.resources or Resources(), cpu_limit=parse_cpu(value))},
        "mem": lambda: {"resources": replace(config.resources, memory_limit=parse_memory(value))},
        "live": lambda: {"probes": replace(config.probes or Probes(), liveness=probe)},
        "ready": lambda: {"probes": replace(config.probes, readiness=probe)},
        "stop": lambda: {"stop_timeout_s": int(value)},
        "handover": lambda: {"handover_s": int(value)},
    }
    return (
        replace(config, strategy=Strategy(name))
        if name in _STRATEGIES
        else replace(config, **changes[name]())
    )


class _Extra:
    """What is on the device besides what containers use."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.images_gone: set[str] = set()
        self.networks: set[Named] = set()
        self.volumes: dict[Named, float] = {}
        self.rolling = self.app_gone = False


def _given(
    item: str, options: Options, facts: Facts, extra: _Extra, services: dict[str, Service]
) -> tuple[Options, Facts]:
    word, *rest = item.split()
    match word:
        case "images":
            extra.images |= set(rest)
        case "no-image":
            extra.images_gone |= set(rest)
        case "networks":
            extra.networks |= {Named(APP, name) for name in rest}
        case "volumes":
            made_at = float(rest.pop()[1:]) if rest[-1].startswith("@") else 0.0
            extra.volumes |= {Named(APP, name): made_at for name in rest}
        case "rolling" | "app-gone":
            extra.rolling, extra.app_gone = extra.rolling or word == "rolling", word == "app-gone"
        case "force" | "keep-images" | "drop-volumes" | "no-fallback":
            changed = {"force": "force", "keep-images": "keep_images", "drop-volumes": "keep_volumes"}
            options = replace(options, **{changed.get(word, "fall_back"): word in ("force", "keep-images")})
        case _:
            facts = _fact(word, rest, facts, services)
    return options, facts


def _fact(word: str, rest: list[str], facts: Facts, services: dict[str, Service]) -> Facts:
    app = frozenset({APP})
    readers = {
        "locked": lambda: {"locked": app},
        "held": lambda: {"held": app},
        "fetched": lambda: {"fetched": frozenset(rest)},
        "disk-full": lambda: {"disk_is_full": True},
        "shares-ports": lambda: {"shares_ports": True},
        "purge": lambda: {"purged_at": {APP: float(rest[0][1:])}},
        "last-good": lambda: {"last_good": {**facts.last_good, **_last_good(rest)}},
        "crashed": lambda: {"crashes": _crashes(rest, services)},
        "failed": lambda: {"failures": {**facts.failures, **_failures(rest, services)}},
    }
    return replace(facts, **readers[word]())


def _last_good(rest: list[str]) -> dict[ServiceKey, ServiceConfig]:
    service = _service(" ".join([rest[0], "running", *rest[1:]]))
    return {service.key: service.config}


def _crashes(rest: list[str], services: dict[str, Service]) -> dict[Release, Failures]:
    name, count, _, ago = rest
    release = Release(services[name].key, services[name].config)
    return {release: Failures(int(count), NOW - float(ago), "exit 1")}


def _failures(rest: list[str], services: dict[str, Service]) -> dict[Action, Failures]:
    verb, what, count, _, ago = rest
    return {_failed_step(verb, what, services): Failures(int(count), NOW - float(ago), "no such luck")}


def _failed_step(verb: str, what: str, services: dict[str, Service]) -> Action:
    if verb == "fetch":
        return Fetch(what)
    if verb == "start":
        return Start(services[what])
    service = services[what.partition("-")[0]]
    return UpdateMetadata(service.key, what, service.name, service.config)


def written(step: Step) -> str:
    """Return a step in the words of the tables."""
    match step:
        case Noop(subject, why, until):
            return f"wait {subject}: {why}" + (f" until {until:g}" if until is not None else "")
        case Start(service, container_id):
            return f"start {container_id or service.name}"
        case UpdateMetadata():
            return f"update {step.container_id}"
        case _:
            verb = "".join(f"-{one.lower()}" if one.isupper() else one for one in type(step).__name__).strip(
                "-"
            )
            return f"{verb} {_object(step)}"


def _object(step: Step) -> str:
    for name in ("container_id", "image", "app_id"):
        if hasattr(step, name):
            return str(getattr(step, name))
    return str((getattr(step, "network", None) or step.volume).name)
