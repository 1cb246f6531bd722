"""A real Kubernetes without containers: etcd, API server, controllers and scheduler as child processes.

`scripts/build_kubernetes.py` builds the two programs. Nothing runs on the node: that is played by whoever tests.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iotistic.agent.engines.k3s.access import Access, by_kubeconfig
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.process import die_with_parent

_WITHIN_S = 90
_CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
)
_NOT_OURS = "TaintNodesByCondition,DefaultTolerationSeconds"


class KubernetesMissing(Unavailable):
    """Kubernetes cannot be run here."""


class KubernetesServer:
    """One API server on loopback, with everything in a folder that goes with it."""

    def __init__(self, programs: str | Path) -> None:
        self._programs = Path(programs)
        self._folder = Path(tempfile.mkdtemp(prefix="iotistic-kubernetes-"))
        self._children: list[subprocess.Popen[bytes]] = []
        self._port = 0
        self._token = secrets.token_hex(16)
        self.kubeconfig = self._folder / "kubeconfig"

    @property
    def access(self) -> Access:
        """How its administrator gets in."""
        return by_kubeconfig(self.kubeconfig)

    @contextmanager
    def running(self) -> Iterator["KubernetesServer"]:
        """Have it run. Raises KubernetesMissing with the reason."""
        try:
            self._start()
            yield self
        finally:
            for child in reversed(self._children):
                child.kill()
                child.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything of ours, and wait until it is gone."""
        home = "namespaces/iotistic"
        for path in (
            f"apis/apps/v1/{home}/deployments",
            f"apis/batch/v1/{home}/jobs",
            f"api/v1/{home}/pods",
            f"api/v1/{home}/configmaps",
            f"api/v1/{home}/persistentvolumeclaims",
            f"api/v1/{home}/secrets",
        ):
            body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
            body["propagationPolicy"] = "Background"
            self._ask("DELETE", path, body)
            self._await(lambda path=path: not self._ours(path), path)

    def _ours(self, path: str) -> list[Any]:
        items = self._ask("GET", path).get("items", [])
        return [one for one in items if one["metadata"]["name"] != "kube-root-ca.crt"]

    def _start(self) -> None:
        self._port, etcd, peers = _free_port(), _free_port(), _free_port()
        folder = self._folder
        self._spawn(
            "etcd",
            f"--data-dir={folder}/etcd --listen-client-urls=http://127.0.0.1:{etcd}"
            f" --advertise-client-urls=http://127.0.0.1:{etcd} --listen-peer-urls=http://127.0.0.1:{peers}"
            " --unsafe-no-fsync --log-level=error",
        )
        (folder / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n', encoding="utf-8")
        key = folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        self._spawn(
            "kubernetes apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd} --secure-port={self._port} --bind-address=127.0.0.1"
            f" --cert-dir={folder}/certs --token-auth-file={folder}/tokens.csv --authorization-mode=RBAC"
            f" --service-account-key-file={key} --service-account-signing-key-file={key}"
            " --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/16"
            f" --disable-admission-plugins={_NOT_OURS} --kubelet-preferred-address-types=InternalIP",
        )
        self._await((folder / "certs/apiserver.crt").exists, "the API server's certificate")
        self._write_kubeconfig()
        self._await(lambda: self._ask("GET", "readyz", raw=True) == "ok", "the API server")
        common = f"--kubeconfig={self.kubeconfig} --leader-elect=false"
        controllers = ",".join(_CONTROLLERS)
        more = f"--service-account-private-key-file={key} --concurrent-gc-syncs=2 --secure-port=0"
        self._spawn("kubernetes controllers", f"{common} --controllers={controllers} {more}")
        self._spawn("kubernetes scheduler", f"{common} --secure-port=0")

    def _write_kubeconfig(self) -> None:
        authority = self._folder / "certs/apiserver.crt"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": f"https://127.0.0.1:{self._port}",
                        "certificate-authority": str(authority),
                    },
                }
            ],
            "users": [{"name": "admin", "user": {"token": self._token}}],
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(config), encoding="utf-8")

    def _spawn(self, program: str, flags: str) -> None:
        name, *words = program.split()
        path = self._programs / name
        if not path.exists():
            raise KubernetesMissing(f"{path} is not there: scripts/build_kubernetes.py builds it")
        log = (self._folder / f"{program.replace(' ', '-')}.log").open("wb")
        with log:
            child = subprocess.Popen(
                [str(path), *words, *flags.split()],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  only sets a signal
            )
        self._children.append(child)

    def _ask(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        access = self.access
        request = urllib.request.Request(  # noqa: S310  an address of our own
            f"{access.server}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=access.headers() | {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, context=access.tls(), timeout=20) as answer:  # noqa: S310  as above
                text = answer.read().decode()
        except OSError:
            return "" if raw else {}
        return text if raw else json.loads(text)

    def _await(self, is_so: Any, what: str) -> None:
        deadline = time.monotonic() + _WITHIN_S
        while not is_so():
            if any(child.poll() is not None for child in self._children) or time.monotonic() > deadline:
                raise KubernetesMissing(f"{what} is not there in time: {self._last_words()}")
            time.sleep(0.1)

    def _last_words(self) -> str:
        logs = sorted(self._folder.glob("*.log"), key=os.path.getmtime)
        return logs[-1].read_text(encoding="utf-8", errors="replace")[-600:] if logs else ""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
