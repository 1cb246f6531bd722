"""Debian's docker-registry as a child on loopback: open, with a password, or with tokens of a server of ours."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from iotistic.kernel.process import die_with_parent, pick_port

USERNAME, PASSWORD = "device", "of-the-test"
_BCRYPT = "$2b$05$A1zuC6t.MwtvwGkyEaiVH..hSbM18/jhddyol9zVfzg5B3O3JdGGe"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/store}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""
_WITHIN_S = 30


class RegistryServer:
    """A registry; `host` is what names of its images begin with."""

    def __init__(self, folder, auth="", headers=None):
        self._folder, self._auth, self._headers = folder, auth, headers or {}
        self.port = pick_port(0)
        self.host = f"127.0.0.1:{self.port}"

    def start(self):
        config = self._folder / "config.yml"
        config.write_text(_CONFIG.format(folder=self._folder, port=self.port, auth=self._auth))
        with (self._folder / "log").open("ab") as log:
            self._child = subprocess.Popen(
                ["docker-registry", "serve", str(config)],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  no thread of ours holds a lock
            )
        deadline = time.monotonic() + _WITHIN_S
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self):
        self._child.kill()
        self._child.wait()

    def push(self, path, tag, content):
        """Keep an image and return its digest."""
        layer, config = content.encode(), json.dumps({"architecture": "amd64", "of": content}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(path, config, "application/vnd.docker.container.image.v1+json"),
            "layers": [self._blob(path, layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
        }
        return self._manifest(path, tag, manifest)

    def push_for(self, path, tag, **machines):
        """Keep an image for several kinds of machines, each with its content; return the digest of the list."""
        manifests = [
            {
                "mediaType": _MANIFEST,
                "digest": self.push(path, f"{tag}-{machine}", content),
                "size": 1,
                "platform": {"os": "linux", "architecture": machine},
            }
            for machine, content in machines.items()
        ]
        return self._manifest(path, tag, {"schemaVersion": 2, "mediaType": _LIST, "manifests": manifests})

    def _manifest(self, path, tag, manifest):
        body = json.dumps(manifest).encode()
        headers = {**self._headers, "Content-Type": manifest["mediaType"]}
        answer = httpx2.put(f"http://{self.host}/v2/{path}/manifests/{tag}", content=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def _blob(self, path, content, kind):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = httpx2.post(f"http://{self.host}/v2/{path}/blobs/uploads/", headers=self._headers)
        assert begun.status_code == 202, begun.text
        url = httpx2.URL(begun.headers["location"]).copy_merge_params({"digest": digest})
        done = httpx2.put(url, content=content, headers=self._headers)
        assert done.status_code == 201, done.text
        return {"mediaType": kind, "size": len(content), "digest": digest}

    def _answers(self):
        assert self._child.poll() is None, (self._folder / "log").read_text()
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"http://{self.host}/v2/", timeout=2).status_code in (200, 401)
        return False


@contextlib.contextmanager
def running(folder, auth="", headers=None):
    """Start a registry. Skips where there is none; in CI that is a failure."""
    if shutil.which("docker-registry") is None:
        leave = pytest.fail if os.environ.get("CI") else pytest.skip
        leave("docker-registry is missing: apt-get install docker-registry")
    server = RegistryServer(folder, auth, headers)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def with_password(folder):
    """Start a registry that wants a password."""
    (folder / "htpasswd").write_text(f"{USERNAME}:{_BCRYPT}\n")
    auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}"
    with running(folder, auth, {"Authorization": basic()}) as server:
        yield server


def basic(username=USERNAME, password=PASSWORD):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class TokenServer:
    """Gives tokens for one registry to whoever has the password; keeps what it was asked."""

    def __init__(self, folder):
        self.asked = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens of the tests")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(named)
            .issuer_name(named)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._der = certificate.public_bytes(serialization.Encoding.DER)
        self._bundle = folder / "tokens.pem"
        self._bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def auth(self):
        """Return the registry's configuration."""
        told = f"realm: {self.url}, service: tests, issuer: tests, rootcertbundle: {self._bundle}"
        return f"auth: {{token: {{{told}}}}}"

    def token(self, path, *actions):
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": USERNAME,
            "aud": "tests",
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": uuid.uuid4().hex,
            "access": [{"type": "repository", "name": path, "actions": list(actions)}],
        }
        chain = {"x5c": [base64.b64encode(self._der).decode()]}
        return jwt.encode(claims, self._key, algorithm="ES256", headers=chain)

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            query = parse_qs(urlsplit(lines[0].split(" ")[1]).query)
            self.asked.append((query, headers.get("authorization")))
            is_right = headers.get("authorization") == basic()
            path = query["scope"][0].split(":")[1]
            body = json.dumps({"token": self.token(path, "pull")} if is_right else {}).encode()
            status = "200 OK" if is_right else "401 Unauthorized"
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        yield self
        server.close()
