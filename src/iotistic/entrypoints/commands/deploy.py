"""`iotistic deploy`: a target from a file onto one device, watched until it runs or something stands in its way."""

import contextlib
import importlib
import json as jsonlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.fleet import DeployedTold, StateTold, TargetTold, WhyTold, fleet_uuid
from iotistic.entrypoints.commands.options import AsJson, InputFile
from iotistic.entrypoints.installation import Api, connect
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Conflict, Invalid, IotisticError, NotFound

app = App(name="deploy", help="Deploy a target from a file to a device.", help_format="plaintext")

Flag = Annotated[bool, Parameter(negative="")]

_EVERY_S = 1.0
_MOST_BYTES = 4 * 1024 * 1024
_TOP = ("apps", "config", "options")


class FileUnreadable(Invalid):
    """The file cannot be read as a target."""

    code = "deploy.file_unreadable"


class VersionStale(Conflict):
    """Another version is in force than was expected."""

    code = "deploy.version_stale"


@dataclass(kw_only=True)
class Outcome:
    """How a deployment stands: `services` by app and name, what is wrong with them, and what stands in the way."""

    uuid: str
    version: int
    images: Mapping[str, Any] | None = None
    reported_version: int | None = None
    is_settled: bool = False
    services: dict[str, str] = field(default_factory=dict[str, str])
    errors: dict[str, str] = field(default_factory=dict[str, str])
    why: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


@app.default
def deploy(
    device: str,
    file: InputFile,
    *,
    wait: Flag = False,
    timeout_s: Annotated[float, Parameter(name="--timeout")] = 300.0,
    resolve: Flag = False,
    expected_version: int | None = None,
    json: AsJson = False,
) -> int:
    """Set the target of a device from a file, and deploy it.

    Parameters
    ----------
    device
        Its uuid, or a name that only one device has.
    file
        {apps, config, options} as JSON, or as YAML where PyYAML is installed; - reads standard input.
    wait
        Wait until the device reports the version and every service is as wanted; otherwise say what stands in the
        way, and end with status 1.
    timeout_s
        Seconds to wait at most.
    resolve
        Let tags of images become digests, as far as registries say.
    expected_version
        Refuse when another version is in force.
    """
    content = read_target_file(file)
    api = connect()
    uuid = fleet_uuid(api, device)
    _expect(api, uuid, expected_version)
    api.request("PUT", f"/devices/{uuid}/target-state", body=content)
    asked: dict[str, object] = {"resolve": True} if resolve else {}
    if expected_version is not None:
        asked["expected_version"] = expected_version
    done = api.post(f"/devices/{uuid}/deploy", DeployedTold, asked)
    outcome = Outcome(uuid=uuid, version=done.version, images=done.images)
    if wait:
        _watch(api, outcome, done.apps, within_s=timeout_s, quiet=json)
    _tell(outcome, wait=wait, json=json)
    return 1 if wait and not outcome.is_settled else 0


def _expect(api: Api, uuid: str, version: int | None) -> None:
    """Refuse before anything waits that would not be deployed; the server looks again, under its lock."""
    if version is None:
        return
    in_force = api.get(f"/devices/{uuid}/target-state", TargetTold).version
    if in_force != version:
        raise VersionStale(
            f"version {in_force} is in force, not {version}", hint="see `iotistic target show`"
        )


def read_target_file(file: Path) -> dict[str, Any]:
    """Return the content of a target's file. Raises FileUnreadable."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as exc:
        raise FileUnreadable(f"{file}: {exc}") from exc
    if len(text) > _MOST_BYTES:
        raise FileUnreadable(f"{file} has more than {_MOST_BYTES} bytes")
    read = _yaml(text, file) if file.suffix.lower() in (".yaml", ".yml") else _json(text, file)
    if not isinstance(read, dict):
        raise FileUnreadable(f"{file} is to hold an object: {{apps, config}}")
    content = cast("dict[str, Any]", read)
    # What a device is given, or `target show --json` prints, may be sent again.
    return {name: content[name] for name in _TOP if content.get(name) is not None} | _unknown(content)


def _unknown(content: Mapping[str, Any]) -> dict[str, Any]:
    known = (*_TOP, *TargetTold.model_fields)
    return {name: value for name, value in content.items() if name not in known}


def _json(text: str, file: Path) -> object:
    try:
        return jsonlib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise FileUnreadable(f"{file} is not JSON: {exc}") from exc


def _yaml(text: str, file: Path) -> object:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as exc:
        raise FileUnreadable(f"{file}: YAML needs PyYAML", hint="pip install pyyaml, or write JSON") from exc
    try:
        # Through JSON, so that a date or a set is refused here, with the file's name.
        return jsonlib.loads(jsonlib.dumps(yaml.safe_load(text), allow_nan=False))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as exc:
        raise FileUnreadable(f"{file} is not YAML that can be sent: {exc}") from exc


def _watch(api: Api, outcome: Outcome, apps: Mapping[str, Any], *, within_s: float, quiet: bool) -> None:
    """Look at what the device reports until it is as wanted, or the time is over; then ask why not."""
    wanted = _wanted(apps)
    deadline, said = time.monotonic() + within_s, ""
    while True:
        with contextlib.suppress(NotFound):  # before its first report
            _look(outcome, api.get(f"/devices/{outcome.uuid}/current-state", StateTold).state, wanted)
        line = _line(outcome, wanted)
        if line != said and not quiet:
            sys.stderr.write(line + "\n")
            said = line
        if outcome.is_settled or time.monotonic() >= deadline:
            break
        time.sleep(min(_EVERY_S, max(0.0, deadline - time.monotonic())))
    if not outcome.is_settled:
        with contextlib.suppress(IotisticError):
            told = api.get(f"/why/devices/{outcome.uuid}", WhyTold, about="not-updated")
            outcome.why = [one.model_dump() for one in told.chain]


def _look(outcome: Outcome, state: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    version = state.get("version")
    outcome.reported_version = version if isinstance(version, int) else None
    outcome.services, outcome.errors = {}, {}
    apps = state.get("apps")
    for app_id, one in cast("dict[str, Any]", apps if isinstance(apps, dict) else {}).items():
        services: Any = cast("dict[str, Any]", one).get("services") if isinstance(one, dict) else None
        for service in cast("list[Any]", services if isinstance(services, list) else []):
            if not isinstance(service, dict):
                continue
            told = cast("dict[str, Any]", service)
            name = f"{app_id}/{told.get('serviceName')}"
            outcome.services[name] = str(told.get("serviceStatus"))
            if isinstance(error := told.get("error"), dict):
                said = cast("dict[str, Any]", error)
                outcome.errors[name] = f"{said.get('type')}: {said.get('message')}"
    is_there = outcome.reported_version == outcome.version
    outcome.is_settled = is_there and outcome.services == dict(wanted)


def _wanted(apps: Mapping[str, Any]) -> dict[str, str]:
    """Return what each service is to report; of one that is paused, reports say that it has stopped."""
    found: dict[str, str] = {}
    for app_id, one in apps.items():
        for service in cast("list[dict[str, Any]]", one.get("services") or []):
            state = service.get("state", "running")
            found[f"{app_id}/{service.get('serviceName')}"] = "running" if state == "running" else "stopped"
    return found


def _line(outcome: Outcome, wanted: Mapping[str, str]) -> str:
    so = sum(outcome.services.get(name) == state for name, state in wanted.items())
    reported = "nothing yet" if outcome.reported_version is None else f"version {outcome.reported_version}"
    faults = "".join(f"; {name}: {error}" for name, error in outcome.errors.items())
    return f"version {outcome.version}: device reports {reported}, {so} of {len(wanted)} services are as wanted{faults}"


def _tell(outcome: Outcome, *, wait: bool, json: bool) -> None:
    if json:
        emit(outcome, json=True)
        return
    if not wait or outcome.is_settled:
        emit(f"version {outcome.version} {'runs' if wait else 'is deployed'}", json=False)
    for image, missed in (outcome.images or {}).get("unresolved", {}).items():
        emit(f"{image} stays a tag: {missed['reason']}", json=False)
    for depth, one in enumerate(outcome.why):
        emit(f"{'  ' * depth}{'because: ' if depth else ''}{one['sentence']}  [{one['code']}]", json=False)
    if outcome.why:
        emit(f"Fix: {outcome.why[-1]['fix']}", json=False)
