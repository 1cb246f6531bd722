"""Asks registries (HTTP API v2) what a tag stands for.

A name is resolved once, checked, and the connection made to the address that was checked, so that nobody makes this
server ask its own network; redirects are not followed. A registry that wants a token says where it is to be had; that
place is checked likewise, and gets the registry's credentials, as with every client of registries.
"""

import asyncio
import base64
import hashlib
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

import httpx2

from iotistic.control.alerts.addresses import Network, is_allowed, networks_of
from iotistic.control.images.model import (
    DIGEST,
    AddressRefused,
    ImageUnknown,
    Reference,
    Registry,
    RegistryAway,
    RegistryRefused,
    hub_or,
)

T = TypeVar("T")

_INDEXES = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
# Of an image for several kinds of machines, the digest of the list, which every kind can fetch.
_ACCEPT = f"{_INDEXES}, {_MANIFESTS}"
_MOST_BYTES = 4 * 1024 * 1024
_MOST_TOKEN = 16 * 1024
_MOST_PLATFORMS = 8
_MOST_SIZE = 2**50
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"]*)"')
_DEFAULT_PORT = {"https": 443, "http": 80}


class RegistryClient:
    """One look-up at a time; nothing is kept of a registry between them."""

    def __init__(self, *, networks: str, timeout_s: float) -> None:
        self._networks, self._timeout_s = networks_of(networks), timeout_s
        self._usual: ssl.SSLContext | None = None

    async def digest(self, reference: Reference, registry: Registry) -> str:
        """Return `sha256:...` of what the tag stands for now.

        Raises ImageUnknown, RegistryRefused, RegistryAway, AddressRefused.
        """
        return await self._within(reference, registry, self._digest)

    async def size(self, reference: Reference, registry: Registry) -> int:
        """Return the bytes to download of an image; of one for several kinds of machines, those of the largest.

        Raises ImageUnknown, RegistryRefused, RegistryAway, AddressRefused.
        """
        return await self._within(reference, registry, self._size)

    async def _within(
        self,
        reference: Reference,
        registry: Registry,
        ask: Callable[[httpx2.URL, Registry], Coroutine[Any, Any, T]],
    ) -> T:
        scheme = "http" if registry.is_plain else "https"
        path = f"/v2/{reference.path}/manifests/{reference.tag}"
        try:
            url = httpx2.URL(f"{scheme}://{hub_or(reference.host)}{path}")
            async with asyncio.timeout(self._timeout_s):
                return await ask(url, registry)
        except TimeoutError as exc:
            raise RegistryAway(
                f"{reference.host} did not answer within {self._timeout_s:g} s", host=reference.host
            ) from exc
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError, UnicodeError) as exc:
            raise RegistryAway(
                f"{reference.host}: {type(exc).__name__}: {exc}"[:300], host=reference.host
            ) from exc

    async def _digest(self, url: httpx2.URL, registry: Registry) -> str:
        status, headers, _ = await self._ask("HEAD", url, registry, {"Accept": _ACCEPT})
        allowed: dict[str, str] = {"Accept": _ACCEPT}
        if status == _UNAUTHORIZED:
            challenge = headers.get("www-authenticate", "")
            allowed["Authorization"] = await self._admission(challenge, registry)
            status, headers, _ = await self._ask("HEAD", url, registry, allowed)
        _refuse(status, registry.host)
        told = headers.get("docker-content-digest", "")
        if DIGEST.fullmatch(told):
            return told
        status, _, body = await self._ask("GET", url, registry, allowed)
        _refuse(status, registry.host)
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    async def _size(self, url: httpx2.URL, registry: Registry) -> int:
        document, headers = await self._manifest(url, registry, {"Accept": _ACCEPT})
        kinds = document.get("manifests")
        if not isinstance(kinds, list):
            return _size_of(document, registry.host)
        sizes: list[int] = []
        for digest in _platforms(cast("list[Any]", kinds)):
            one, headers = await self._manifest(
                url.join(httpx2.URL(digest.replace(":", "%3A"))), registry, headers
            )
            sizes.append(_size_of(one, registry.host))
        if not sizes:
            raise RegistryAway(f"{registry.host} names no image that devices could run", host=registry.host)
        return max(sizes)

    async def _manifest(
        self, url: httpx2.URL, registry: Registry, headers: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a manifest, and the headers that it was given for."""
        status, told, body = await self._ask("GET", url, registry, headers)
        if status == _UNAUTHORIZED and "Authorization" not in headers:
            admission = await self._admission(told.get("www-authenticate", ""), registry)
            headers = {**headers, "Authorization": admission}
            status, _, body = await self._ask("GET", url, registry, headers)
        _refuse(status, registry.host)
        try:
            document: object = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise RegistryAway(f"{registry.host} answered with no manifest", host=registry.host)
        return cast("dict[str, Any]", document), headers

    async def _admission(self, challenge: str, registry: Registry) -> str:
        """Return what to come with, after a 401. Raises RegistryRefused."""
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and registry.password is not None:
            return _basic(registry)
        given = dict(_PARAMETER.findall(rest))
        if kind.lower() != "bearer" or "realm" not in given:
            raise RegistryRefused(f"{registry.host} wants credentials", host=registry.host, hint=_HINT)
        wanted = {name: given[name] for name in ("service", "scope") if name in given}
        url = httpx2.URL(given["realm"]).copy_merge_params(wanted)
        if url.userinfo or url.scheme not in ("https", *(("http",) if registry.is_plain else ())):
            raise RegistryRefused(f"{registry.host} sends us somewhere without TLS", host=registry.host)
        headers = {} if registry.password is None else {"Authorization": _basic(registry)}
        status, _, body = await self._ask("GET", url, registry, headers)
        _refuse(status, registry.host)
        return f"Bearer {_token(body, registry.host)}"

    async def _ask(
        self, method: str, url: httpx2.URL, registry: Registry, headers: dict[str, str]
    ) -> tuple[int, httpx2.Headers, bytes]:
        port = url.port or _DEFAULT_PORT[url.scheme]
        address = await _checked_address(url.host, port, self._networks)
        named = {"Host": url.netloc.decode("ascii"), "User-Agent": "iotistic-images/1", **headers}
        options = {"sni_hostname": url.raw_host.decode("ascii")} if url.scheme == "https" else {}
        # No proxy and no netrc of the environment: they would undo the check of the address.
        async with (
            httpx2.AsyncClient(
                verify=self._trusting(registry),
                trust_env=False,
                follow_redirects=False,
                timeout=self._timeout_s,
            ) as client,
            client.stream(method, url.copy_with(host=address), headers=named, extensions=options) as answer,
        ):
            return answer.status_code, answer.headers, await _read(answer, registry.host)

    def _trusting(self, registry: Registry) -> ssl.SSLContext:
        if registry.ca_pem:
            return ssl.create_default_context(cadata=registry.ca_pem)
        # Reading the machine's certificates takes tens of milliseconds, so it is done once.
        self._usual = self._usual or ssl.create_default_context()
        return self._usual


_HINT = "PUT /registries/<host> with a username and a password that may read there"


def _refuse(status: int, host: str) -> None:
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        raise RegistryRefused(f"{host} does not let us in ({status})", host=host, hint=_HINT)
    if status == _NOT_FOUND:
        raise ImageUnknown(host=host)
    if status != _OK:
        raise RegistryAway(f"{host} answered {status}", host=host)


def _platforms(kinds: list[Any]) -> list[str]:
    """Return the digests of a list's images for Linux; attestations, which no device fetches, are left out."""
    found: list[str] = []
    for kind in kinds:
        entry = cast("dict[str, Any]", kind) if isinstance(kind, dict) else {}
        platform = entry.get("platform")
        told = cast("dict[str, Any]", platform) if isinstance(platform, dict) else {}
        digest = entry.get("digest")
        if isinstance(digest, str) and DIGEST.fullmatch(digest) and told.get("os", "linux") == "linux":
            found.append(digest)
    return found[:_MOST_PLATFORMS]


def _size_of(manifest: dict[str, Any], host: str) -> int:
    layers = manifest.get("layers")
    parts: list[Any] = [
        manifest.get("config"),
        *cast("list[Any]", layers if isinstance(layers, list) else [None]),
    ]
    sizes = [cast("dict[str, Any]", part).get("size") if isinstance(part, dict) else None for part in parts]
    known = [size for size in sizes if isinstance(size, int) and not isinstance(size, bool) and size >= 0]
    if len(known) != len(sizes) or sum(known) > _MOST_SIZE:
        raise RegistryAway(f"{host} does not say how large the image is", host=host)
    return sum(known)


async def _read(answer: httpx2.Response, host: str) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > _MOST_BYTES:
            raise RegistryAway(f"{host} answered with more than {_MOST_BYTES} bytes", host=host)
    return bytes(body)


def _basic(registry: Registry) -> str:
    password = registry.password.get_secret_value() if registry.password else ""
    return "Basic " + base64.b64encode(f"{registry.username}:{password}".encode()).decode()


def _token(body: bytes, host: str) -> str:
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    fields = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    token = fields.get("token") or fields.get("access_token")
    if (
        not isinstance(token, str)
        or not token.isascii()
        or not token.isprintable()
        or len(token) > _MOST_TOKEN
    ):
        raise RegistryAway(f"{host} gave no token that can be used", host=host)
    return token


async def _checked_address(host: str, port: int, networks: Sequence[Network]) -> str:
    """Return an address that may be asked. Raises AddressRefused when one of the name's addresses may not."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        if not is_allowed(ipaddress.ip_address(text.partition("%")[0]), networks):
            raise AddressRefused(
                host=host, hint="private networks are allowed by IMAGE_REGISTRY_NETWORKS of the server"
            )
    return addresses[0]
