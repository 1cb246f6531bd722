"""An agent as a process on a Docker of its own, that is killed at any moment and started again.

Every release of its app changes one service's image, which comes from a registry and takes over from the one
before; the environment of another one, which has a volume; a network; and a volume. A third service never
changes. What is true of the device afterwards is read from Docker, not from the agent.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.docker_server import OPEN_REGISTRY, DockerServer
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.files import write_atomic
from iotistic.kernel.process import die_with_parent

WITHIN_S = 90.0
_LOOK_S = 0.01
_WAITS_S = 1.0
_WEB = f"{OPEN_REGISTRY}/shop/web"
_SAID = "kept through everything"
_SERVE = 'echo "$VERSION" > /index.html; httpd -f -p 80 -h / & trap "kill $!; exit 0" TERM; wait'


class Unsettled(Unavailable):
    """The device did not become what it was to be."""

    code = "bench.unsettled"


class PowerDevice:
    """One agent process, one Docker. `start` it, declare releases, `cut` it."""

    def __init__(self, docker: DockerServer, folder: Path) -> None:
        self.docker, self._folder = docker, folder
        self._target = folder / "target.json"
        self._log = folder / "agent.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._untouched = ""

    def prepare(self) -> None:
        """Bring the images into the registry, deploy the first release, and write into the volume."""
        self.docker.start_open_registry()
        for version in ("0", "1"):
            command = f"CMD {json.dumps(['sh', '-c', _SERVE])}"
            self.docker.publish(f"{_WEB}:{version}", f"ENV VERSION={version}", command)
        self.declare()
        self.start()
        self.settle()
        self.docker.run("exec", "shop_db_2", "sh", "-c", f"echo {_SAID} > /data/said")
        self._untouched = self._inspect("shop_watch_3")["Id"]

    def declare(self) -> None:
        """Write the next release down; an agent that runs takes it up at once."""
        self._number += 1
        write_atomic(self._target, json.dumps(release(self._number)))

    def start(self) -> None:
        """Start the agent."""
        words = [
            "agent",
            "run",
            str(self._target),
            "--data",
            str(self._folder / "data"),
            "--engine",
            "docker",
        ]
        environment = {
            **os.environ,
            "DOCKER_SOCKET": str(self.docker.socket),
            "IOTISTIC_HOME": str(self._folder / "home"),
            "LOG_FORMAT": "json",
        }
        self._log.write_bytes(b"")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "iotistic", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  no thread of ours holds a lock
            )

    def cut(self) -> set[str]:
        """End the agent as a power cut does; return the names of the steps that were under way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        return {event["step"] for event in self._under_way()}

    def until_working_or_settled(self, steps: int = 1) -> None:
        """Wait until so many steps were begun, or all is done. Raises Unsettled."""

        def met() -> bool:
            seen = [event["event"] for event in self._events()]
            return seen.count("step.started") >= steps or self._has_nothing_to_do()

        self._until(met)

    def pause(self, seconds: float) -> None:
        """Let the agent work."""
        time.sleep(seconds)

    def forget_log(self) -> None:
        """Begin a new log, so that what follows is seen alone."""
        os.truncate(self._log, 0)

    def settle(self) -> float:
        """Wait until all is as declared; return the seconds since the call. Raises Unsettled with what is wrong."""
        began = time.monotonic()
        found = ["the agent says nothing"]

        def is_right() -> bool:
            nonlocal found
            if not self._is_at_rest():
                return False
            found = list(self.faults())
            if found:
                time.sleep(_WAITS_S / 10)
            return not found

        try:
            self._until(is_right)
        except Unsettled as exc:
            raise Unsettled(f"{'; '.join(found)}\n{self.last_words()}") from exc
        return time.monotonic() - began

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the device, for a person to read."""
        names = self.docker.run("ps", "--all", "--format", "{{.Names}}").stdout.split()
        if sorted(names) != ["shop_db_2", "shop_watch_3", "shop_web_1"]:
            yield f"containers: {sorted(names)}"
            return
        web, db, watch = map(self._inspect, ("shop_web_1", "shop_db_2", "shop_watch_3"))
        version = str(self._number % 2)
        for name, one in (("web", web), ("db", db), ("watch", watch)):
            if not one["State"]["Running"]:
                yield f"{name} is {one['State']['Status']}"
        if web["Config"]["Image"] != f"{_WEB}:{version}":
            yield f"web is of {web['Config']['Image']}"
        if f"NUMBER={self._number}" not in db["Config"]["Env"]:
            yield "db is of an earlier release"
        if self._untouched and watch["Id"] != self._untouched:
            yield "watch is another container"
        yield from _wrong_names(web, "web", "back", f"edge-{version}")
        yield from _wrong_names(db, "db", "back")
        yield from _wrong_names(watch, "watch", "back")
        yield from self._leftovers(version)

    def _leftovers(self, version: str) -> Iterator[str]:
        networks = {name for name in self._listed("network", "{{.Name}}") if name.startswith("7_")}
        if networks != {"7_back", f"7_edge-{version}"}:
            yield f"networks: {sorted(networks)}"
        volumes = set(self._listed("volume", "{{.Name}}"))
        if volumes != {"7_data", f"7_extra-{version}"}:
            yield f"volumes: {sorted(volumes)}"
        images = {name for name in self._listed("image", "{{.Repository}}:{{.Tag}}") if name.startswith(_WEB)}
        if images != {f"{_WEB}:{version}"}:
            yield f"images: {sorted(images)}"
        if self._untouched:
            said = self.docker.run("exec", "shop_db_2", "cat", "/data/said", check=False).stdout.strip()
            if said != _SAID:
                yield f"the volume says {said!r}"

    def kill_docker(self) -> None:
        """End Docker and all containers as a crash does, and start it again with what is on its disk."""
        self.docker.kill()
        self.docker.launch()
        self.docker.start_open_registry()

    def last_words(self) -> str:
        """Return the end of the agent's log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def stop(self) -> None:
        """End the agent."""
        self.cut()

    def _has_nothing_to_do(self) -> bool:
        last = list(self._events())[-1:]
        return any(event["event"] == "device.settled" and not event["waiting"] for event in last)

    def _is_at_rest(self) -> bool:
        said = [event for event in self._events() if event["event"] in ("device.settled", "step.started")]
        return bool(said) and said[-1]["event"] == "device.settled"

    def _under_way(self) -> list[dict[str, Any]]:
        """Return the steps that were started and not ended."""
        open_steps: dict[tuple[str, str], dict[str, Any]] = {}
        for event in self._events():
            if event["event"] in ("step.started", "step.done", "step.failed"):
                key = event["step"], event["subject"]
                if event["event"] == "step.started":
                    open_steps[key] = event
                else:
                    open_steps.pop(key, None)
        return list(open_steps.values())

    def _events(self) -> Iterator[dict[str, Any]]:
        for line in self._log.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def _until(self, met: Any) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not met():
            if time.monotonic() > deadline:
                raise Unsettled(self.last_words())
            if self._process is not None and self._process.poll() is not None:
                raise Unsettled(f"the agent ended by itself\n{self.last_words()}")
            time.sleep(_LOOK_S)

    def _listed(self, kind: str, form: str) -> list[str]:
        return self.docker.run(kind, "ls", "--format", form).stdout.split()

    def _inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker.run("inspect", name).stdout)
        return found[0]


def _wrong_names(one: dict[str, Any], alias: str, *networks: str) -> Iterable[str]:
    places = one["NetworkSettings"]["Networks"]
    if set(places) != {f"7_{name}" for name in networks}:
        yield f"{alias} is in {sorted(places)}"
    for name, place in places.items():
        if alias not in (place.get("Aliases") or ()):
            yield f"{alias} is not known by its name in {name}"


def release(number: int) -> dict[str, Any]:
    """Return a target state; every number is another one."""
    version = str(number % 2)
    web = {
        "image": f"{_WEB}:{version}",
        "networks": ["back", f"edge-{version}"],
        "updateStrategy": "hand-over",
        "handoverSeconds": 1,
    }
    db = {
        "image": "db:1",
        "environment": {"NUMBER": str(number)},
        "networks": ["back"],
        "volumes": ["data:/data", f"extra-{version}:/extra"],
    }
    watch = {"image": "db:1", "networks": ["back"]}
    services = [
        {"serviceId": service_id, "serviceName": name, "config": config}
        for service_id, (name, config) in enumerate((("web", web), ("db", db), ("watch", watch)), 1)
    ]
    apps = {"7": {"appId": 7, "appName": "shop", "services": services}}
    return {"apps": apps, "version": number, "options": {"keepVolumes": False}}
