"""Where the API of Kubernetes is, and who we are there.

Inside a cluster a pod finds both in its own files; beside it there is a kubeconfig, which K3s writes to
/etc/rancher/k3s/k3s.yaml. Ways to log in that run programs are refused by name.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s.plain_yaml import read_yaml
from iotistic.kernel.errors import Invalid

KUBECONFIG = Path("/etc/rancher/k3s/k3s.yaml")
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOGIN = {
    "token",
    "tokenFile",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
}
_PLACE = {"server", "certificate-authority", "certificate-authority-data", "tls-server-name"}


class KubeconfigInvalid(Invalid):
    """The kubeconfig cannot be used."""

    code = "engine.kubeconfig_invalid"


@dataclass(frozen=True)
class Access:
    """An address, whom to believe there, and our certificate or token. Texts of PEM."""

    server: str
    authority: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """Read for each request: Kubernetes writes another one every hour."""
    server_name: str = ""

    def headers(self) -> dict[str, str]:
        """Return who we are. Raises EngineUnavailable when the token cannot be read."""
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="utf-8").strip()
            except OSError as exc:
                raise EngineUnavailable(f"the token for Kubernetes cannot be read: {exc}") from exc
        return {"Authorization": f"Bearer {token}"} if token else {}

    def tls(self) -> ssl.SSLContext | None:
        """Return whom to believe, with our own certificate; None for plain HTTP. Raises KubeconfigInvalid."""
        if not self.server.startswith("https://"):
            return None
        try:
            context = ssl.create_default_context(cadata=self.authority or None)
            if self.certificate:
                _show(context, self.certificate, self.key)
        except (ssl.SSLError, ValueError) as exc:
            raise KubeconfigInvalid(f"a certificate or key for Kubernetes cannot be used: {exc}") from exc
        return context


def is_in_cluster(environ: Mapping[str, str], account: Path = ACCOUNT) -> bool:
    """Say whether we run in a pod that may speak to its Kubernetes."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (account / "token").exists()


def in_cluster(environ: Mapping[str, str], account: Path = ACCOUNT) -> Access:
    """Return the access that a pod has to its own cluster. Raises KubeconfigInvalid."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise KubeconfigInvalid("this is no pod: KUBERNETES_SERVICE_HOST is not set")
    name = f"[{host}]" if ":" in host else host
    return Access(f"https://{name}:{port}", _text(account / "ca.crt"), token_file=account / "token")


def by_kubeconfig(path: Path = KUBECONFIG) -> Access:
    """Return the access that a kubeconfig's current context describes. Raises KubeconfigInvalid."""
    try:
        document = read_yaml(_text(path))
    except ValueError as exc:
        raise KubeconfigInvalid(f"{path}: {exc}") from exc
    if not isinstance(document, dict):
        raise KubeconfigInvalid(f"{path} is no kubeconfig")
    reader = _Kubeconfig(document, path)  # pyright: ignore[reportUnknownArgumentType]  checked by its reader
    context = reader.entry("contexts", "context", str(reader.document.get("current-context") or ""))
    place = reader.entry("clusters", "cluster", str(context.get("cluster") or ""))
    login = reader.entry("users", "user", str(context.get("user") or ""))
    reader.refuse_others(place, _PLACE | {"extensions"})
    reader.refuse_others(login, _LOGIN)
    token_file = login.get("tokenFile")
    return Access(
        server=str(place.get("server") or "").rstrip("/"),
        authority=reader.pem(place, "certificate-authority"),
        certificate=reader.pem(login, "client-certificate"),
        key=reader.pem(login, "client-key"),
        token=str(login.get("token") or ""),
        token_file=path.parent / str(token_file) if token_file else None,
        server_name=str(place.get("tls-server-name") or ""),
    )


@dataclass(frozen=True)
class _Kubeconfig:
    document: Json
    path: Path

    def entry(self, collection: str, kind: str, name: str) -> Json:
        """Return one of the file's named entries."""
        for found in entries(self.document, collection):
            if isinstance(found, dict) and str(found.get("name")) == name:  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                return part(found, kind)  # pyright: ignore[reportUnknownArgumentType]
        raise KubeconfigInvalid(f"{self.path} has no {kind} named {name!r}")

    def refuse_others(self, entry: Json, known: set[str]) -> None:
        """Refuse what would have to be done and is not."""
        if others := sorted(set(entry) - known):
            raise KubeconfigInvalid(f"{self.path}: not supported: {', '.join(others)}")

    def pem(self, entry: Json, name: str) -> str:
        """Return a certificate or key, which stands in the file or beside it."""
        if data := entry.get(f"{name}-data"):
            try:
                return base64.b64decode(str(data), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as exc:
                raise KubeconfigInvalid(f"{self.path}: {name}-data is not base64") from exc
        if file := entry.get(name):
            return _text(self.path.parent / str(file))
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise KubeconfigInvalid(f"{path} cannot be read: {exc}") from exc


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load our certificate; Python's ssl takes files only, so one is there for a moment, for us alone."""
    descriptor, path = tempfile.mkstemp(prefix="iotistic-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{certificate}\n{key}\n")
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
