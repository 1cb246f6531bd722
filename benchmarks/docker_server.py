"""Debian's dockerd as a child process, with its own networks, mounts and process numbers.

Nothing of it is seen outside of its namespaces but its socket, and nothing outlives it: bridges, firewall rules,
mounts and containers go with the namespaces, however it ends. No registry is reached from in there but ours.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.process import die_with_parent

REGISTRY = "127.0.0.1:5000"
OPEN_REGISTRY = "127.0.0.1:5001"
USERNAME, PASSWORD = "device", "of-the-test"
_BCRYPT = "$2b$05$A1zuC6t.MwtvwGkyEaiVH..hSbM18/jhddyol9zVfzg5B3O3JdGGe"
_WITHIN_S = 40
_BALLAST = 4 << 20
_SERVE = """
mkdir -p /www; echo "$VERSION" > /www/index.html; sleep "${SLOW:-0}"
httpd -f -p 80 -h /www & trap 'kill $!; exit 0' TERM; wait
"""
_TALK = """
echo "$WORD"; printf 'one '; sleep 0.1; echo 1; sleep 0.2; echo oh no >&2; sleep 0.3; echo two
trap 'exit 0' TERM; sleep 100000 & wait
"""
_IMAGES = {
    "web:1": ("VERSION=1", _SERVE),
    "web:2": ("VERSION=2 SLOW=0.7", _SERVE),
    "db:1": ("DATA=/data", "trap 'exit 0' TERM; sleep 100000 & wait"),
    "crash:1": ("CODE=3", 'sleep 0.2; exit "$CODE"'),
    "talk:1": ("WORD=héllo", _TALK),
}
_REFUSES = "broken:1"
_REGISTRY_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}
http: {{addr: "{address}"}}
"""
_LOCKED = "auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
_CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 1).close()"


class DockerMissing(Unavailable):
    """Docker cannot be run here."""


class DockerServer:
    """A Docker that holds the images of the tests: web:1, web:2 (slow to begin), db:1, crash:1, talk:1, broken:1."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="iotistic-docker-"))
        self.socket = self._folder / "docker.sock"
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start it and bring the images in. Raises DockerMissing with the reason."""
        _refuse_what_cannot_work()
        self.launch()
        for image, (environment, script) in _IMAGES.items():
            env = [f"ENV {pair}" for pair in environment.split()]
            self._bring(image, *env, f"CMD {json.dumps(['sh', '-c', script])}")
        self._bring(_REFUSES, 'CMD ["/not/there"]')

    def launch(self, **options: object) -> None:
        """Start the daemon on what it has on its disk; `options` are those of its daemon.json."""
        begin = (
            f"busybox ip link set lo up; rm -rf {self._folder}/docker.pid {self._folder}/run; exec dockerd --data-root {self._folder}/data --exec-root {self._folder}/run"
            f" --pidfile {self._folder}/docker.pid --host unix://{self.socket} --group root --config-file {self._folder}/daemon.json"
        )
        (self._folder / "daemon.json").write_text(json.dumps(options), encoding="utf-8")
        namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._spawn([*namespaces, "sh", "-c", begin], "dockerd")
        self._await(lambda: self.run("version", check=False).returncode == 0, "dockerd")

    def start_registry(self) -> None:
        """Start a registry that wants a password, with team/app:1 in it."""
        (self._folder / "htpasswd").write_text(f"{USERNAME}:{_BCRYPT}\n", encoding="utf-8")
        self._serve(REGISTRY, _REGISTRY_CONFIG + _LOCKED)
        login = ["login", "--username", USERNAME, "--password-stdin", REGISTRY]
        self._await(lambda: self.run(*login, check=False, told=PASSWORD).returncode == 0, "docker-registry")
        image = f"{REGISTRY}/team/app:1"
        root = self._folder / "app.tar"
        root.write_bytes(_root_of_busybox({"ballast": os.urandom(_BALLAST)}))
        self.run("import", str(root), image)
        self.run("push", image)
        self.run("rmi", image)
        self.run("logout", REGISTRY)

    def start_open_registry(self) -> None:
        """Start a registry without a password; what it held before a crash is still there."""
        port = self._serve(OPEN_REGISTRY, _REGISTRY_CONFIG)
        asking = [*self.inside(), sys.executable, "-c", _CONNECT, port]
        self._await(
            lambda: subprocess.run(asking, check=False, capture_output=True).returncode == 0,
            "docker-registry",
        )

    def publish(self, image: str, *changes: str) -> None:
        """Bring an image into a registry, and not onto this Docker."""
        self._bring(image, *changes)
        self.run("push", image)
        self.run("rmi", image)

    def _serve(self, address: str, config: str) -> str:
        """Start a registry and return its port; all of them share their disk."""
        port = address.rpartition(":")[2]
        path = self._folder / f"registry-{port}.yml"
        path.write_text(config.format(folder=self._folder, address=address), encoding="utf-8")
        self._spawn([*self.inside(), "docker-registry", "serve", str(path)], "registry")
        return port

    def run(self, *words: str, check: bool = True, told: str = "") -> subprocess.CompletedProcess[str]:
        """Run the docker command as a person does who interferes."""
        done = subprocess.run(
            ["docker", *words],
            env=os.environ | {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self._folder)},
            input=told,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise DockerMissing(f"docker {' '.join(words)}: {done.stderr.strip()}")
        return done

    def inside(self, container: str = "") -> list[str]:
        """Return the command before a command that is to be run in Docker's network, or a container's."""
        pid = _child_of(self._children[0].pid)
        within = ["nsenter", "--target", str(pid), "--mount", "--pid", "--net"]
        if container:
            inner = self.run("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
            within += ["nsenter", "--target", inner, "--net"]
        return within

    def kill(self) -> None:
        """End it as a crash would, with all containers."""
        for child in reversed(self._children):
            child.kill()
            child.wait()
        self._children.clear()

    def clear(self) -> None:
        """Remove all containers, networks and volumes."""
        if found := self.run("ps", "--all", "--quiet").stdout.split():
            self.run("rm", "--force", *found)
        self.run("network", "prune", "--force")
        if volumes := self.run("volume", "ls", "--quiet").stdout.split():
            self.run("volume", "rm", *volumes)

    def stop(self) -> None:
        """End it and remove what it had on disk."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _bring(self, image: str, *changes: str) -> None:
        options = [part for change in changes for part in ("--change", change)]
        root = self._folder / "root.tar"
        if not root.exists():
            root.write_bytes(_root_of_busybox())
        self.run("import", *options, str(root), image)

    def _spawn(self, command: list[str], name: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  no thread of ours holds a lock
            )
        self._children.append(child)

    def _await(self, is_there: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + _WITHIN_S
        while not is_there():
            if time.monotonic() > deadline or self._children[-1].poll() is not None:
                log = (self._folder / f"{name.removeprefix('docker-')}.log").read_text(errors="replace")
                raise DockerMissing(f"{name} did not start here; its last words: {log[-600:].strip()}")
            time.sleep(0.05)


def _refuse_what_cannot_work() -> None:
    if os.geteuid() != 0:
        raise DockerMissing("the tests of the Docker engine start a dockerd of their own, which needs root")
    for program in ("dockerd", "docker", "unshare", "busybox", "docker-registry"):
        if shutil.which(program) is None:
            raise DockerMissing(
                f"{program} is missing: apt-get install docker.io docker-registry busybox-static"
            )


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])


def _root_of_busybox(files: Mapping[str, bytes] | None = None) -> bytes:
    """Return the smallest root that a shell, a web server and volumes need, as a tar file."""
    content = io.BytesIO()
    busybox = Path(shutil.which("busybox") or "busybox")
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(busybox.resolve(), "bin/busybox")
        for command in ("sh", "sleep", "httpd", "cat", "echo", "mkdir", "kill", "touch", "ls"):
            link = tarfile.TarInfo(f"bin/{command}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, held in (files or {}).items():
            file = tarfile.TarInfo(name)
            file.size = len(held)
            tar.addfile(file, io.BytesIO(held))
    return content.getvalue()
