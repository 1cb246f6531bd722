"""What an app is to be, release by release, and what Docker says of it: the agent is not asked.

Every release changes one service's image, which comes from a registry and takes over from the one before; the
environment of another one, which has a volume; a network; and a volume. A third service never changes.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.docker_server import OPEN_REGISTRY, DockerServer

_WEB = f"{OPEN_REGISTRY}/shop/web"
_SAID = "kept through everything"


def image_of(number: int) -> str:
    """Return the image of a release; they take turns."""
    return f"{_WEB}:{number % 2}"


def release(number: int) -> dict[str, Any]:
    """Return a target state; every number is another one."""
    version = str(number % 2)
    web = {
        "image": image_of(number),
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


class Truth:
    """Looks at one Docker."""

    def __init__(self, docker: DockerServer) -> None:
        self._docker = docker
        self._untouched = ""

    def mark(self) -> None:
        """Write into the volume, and remember the container that is never to change."""
        self._docker.run("exec", "shop_db_2", "sh", "-c", f"echo {_SAID} > /data/said")
        self._untouched = self._inspect("shop_watch_3")["Id"]

    def faults(self, number: int) -> Iterator[str]:
        """Yield what is not as a release says, for a person to read."""
        names = self._docker.run("ps", "--all", "--format", "{{.Names}}").stdout.split()
        if sorted(names) != ["shop_db_2", "shop_watch_3", "shop_web_1"]:
            yield f"containers: {sorted(names)}"
            return
        web, db, watch = map(self._inspect, ("shop_web_1", "shop_db_2", "shop_watch_3"))
        version = str(number % 2)
        for name, one in (("web", web), ("db", db), ("watch", watch)):
            if not one["State"]["Running"]:
                yield f"{name} is {one['State']['Status']}"
        if web["Config"]["Image"] != image_of(number):
            yield f"web is of {web['Config']['Image']}"
        if f"NUMBER={number}" not in db["Config"]["Env"]:
            yield "db is of an earlier release"
        if self._untouched and watch["Id"] != self._untouched:
            yield "watch is another container"
        yield from _wrong_names(web, "web", "back", f"edge-{version}")
        yield from _wrong_names(db, "db", "back")
        yield from _wrong_names(watch, "watch", "back")
        yield from self._leftovers(number)

    def _leftovers(self, number: int) -> Iterator[str]:
        version = str(number % 2)
        networks = {name for name in self._listed("network", "{{.Name}}") if name.startswith("7_")}
        if networks != {"7_back", f"7_edge-{version}"}:
            yield f"networks: {sorted(networks)}"
        volumes = set(self._listed("volume", "{{.Name}}"))
        if volumes != {"7_data", f"7_extra-{version}"}:
            yield f"volumes: {sorted(volumes)}"
        if image_of(number) not in self.images():
            yield f"images: {sorted(self.images())}"
        if self._untouched:
            said = self._docker.run("exec", "shop_db_2", "cat", "/data/said", check=False).stdout.strip()
            if said != _SAID:
                yield f"the volume says {said!r}"

    def images(self) -> set[str]:
        """Return the images of releases that are on the disk."""
        names = self._listed("image", "{{.Repository}}:{{.Tag}}")
        return {name for name in names if name.startswith(_WEB)}

    def _listed(self, kind: str, form: str) -> list[str]:
        return self._docker.run(kind, "ls", "--format", form).stdout.split()

    def _inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self._docker.run("inspect", name).stdout)
        return found[0]


def _wrong_names(one: dict[str, Any], alias: str, *networks: str) -> Iterable[str]:
    places = one["NetworkSettings"]["Networks"]
    if set(places) != {f"7_{name}" for name in networks}:
        yield f"{alias} is in {sorted(places)}"
    for name, place in places.items():
        if alias not in (place.get("Aliases") or ()):
            yield f"{alias} is not known by its name in {name}"
