"""Fetching of images: how they are named, how far it is, and what a registry's refusal means."""

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.errors import ImageNotFound, ImageUnavailable
from iotistic.agent.engines.port import Progress

HUB = "docker.io"
_HUB_LOGIN = "https://index.docker.io/v1/"
_OFFICIAL = "library/"
_NOT_SHOWN = ("not found", "manifest unknown", "unauthorized", "denied", "no basic auth", "does not exist")
_NOT_FOUND = (401, 403, 404)


@dataclass(frozen=True)
class Credentials:
    """Who we are for a registry."""

    username: str
    password: str = field(repr=False)


Keyring = Callable[[str], Credentials | None]
"""Returns the credentials for a registry, by its host (and port)."""


def no_credentials(_host: str) -> Credentials | None:
    """Know nobody: registries that are open to all."""
    return None


def registry_of(image: str) -> str:
    """Return the host that an image comes from."""
    head, slash, _ = image.partition("/")
    is_host = slash and ("." in head or ":" in head or head == "localhost")
    return head if is_host and head not in ("index.docker.io", "registry-1.docker.io") else HUB


def split(image: str) -> tuple[str, str]:
    """Return an image's repository and its tag or digest; a digest says more than a tag beside it."""
    name, at, digest = image.partition("@")
    head, colon, tag = name.rpartition(":")
    repository, tag = (head, tag) if colon and "/" not in tag else (name, "latest")
    return repository, digest if at else tag


def canonical(image: str) -> str:
    """Return one spelling for all that mean the same image."""
    repository, version = split(image)
    host = registry_of(repository)
    head, slash, tail = repository.partition("/")
    path = tail if slash and ("." in head or ":" in head or head == "localhost") else repository
    if host == HUB and "/" not in path:
        path = _OFFICIAL + path
    return f"{host}/{path}{'@' if ':' in version else ':'}{version}"


def spellings(listed: Iterable[Json], asked: Iterable[str]) -> frozenset[str]:
    """Return the names under which services may mean the images that Docker lists.

    Each of Docker's own names has a few spellings; a tag beside a digest can be any, so of those only what
    was asked for is known.
    """
    found = {
        str(name)
        for image in listed
        for name in entries(image, "RepoTags") + entries(image, "RepoDigests")
        if "<none>" not in name
    }
    there = {canonical(name) for name in found}
    ways = {way for name in there for way in _ways_to_write(name)}
    return frozenset(ways | {name for name in asked if canonical(name) in there})


def _ways_to_write(name: str) -> list[str]:
    short = name.removeprefix(f"{HUB}/")
    ways = [name, short]
    if short.startswith(_OFFICIAL):
        ways += [short.removeprefix(_OFFICIAL), f"{HUB}/{short.removeprefix(_OFFICIAL)}"]
    return ways + [way.removesuffix(":latest") for way in ways if way.endswith(":latest")]


async def pull(client: DockerClient, image: str, keyring: Keyring, tell: Callable[[Progress], None]) -> None:
    """Fetch an image. Raises ImageNotFound and ImageUnavailable."""
    repository, version = split(image)
    query = {"fromImage": repository, "tag": version}
    layers: dict[str, Progress] = {}
    tell(Progress(0, 0))
    try:
        async with client.open(
            "POST", "images/create", query=query, headers=_login(registry_of(image), keyring)
        ) as response:
            async for line in client.lines(response):
                if "error" in line:
                    raise _meant(image, str(line["error"]))
                if _is_news(layers, line):
                    done, total = (sum(amount) for amount in zip(*layers.values(), strict=True))
                    tell(Progress(done, total))
    except Refused as exc:
        if exc.status in _NOT_FOUND:
            raise ImageNotFound(f"{image}: {exc.message}") from exc
        raise _meant(image, exc.message) from exc


def _is_news(layers: dict[str, Progress], line: Json) -> bool:
    """Note how far a layer is; unpacking is counted as done, since it is not sent."""
    said, layer = str(line.get("status", "")), str(line.get("id", ""))
    detail = part(line, "progressDetail")
    if said == "Downloading" and "total" in detail:
        layers[layer] = Progress(int(detail.get("current", 0)), int(detail["total"]))
        return True
    if said in ("Download complete", "Pull complete") and layer in layers:
        layers[layer] = Progress(layers[layer].total, layers[layer].total)
        return True
    return False


def _meant(image: str, said: str) -> ImageNotFound | ImageUnavailable:
    kind = ImageNotFound if any(part in said.lower() for part in _NOT_SHOWN) else ImageUnavailable
    return kind(f"{image}: {said}")


def _login(host: str, keyring: Keyring) -> dict[str, str]:
    credentials = keyring(host)
    if credentials is None:
        return {}
    said = {
        "username": credentials.username,
        "password": credentials.password,
        "serveraddress": _HUB_LOGIN if host == HUB else host,
    }
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(said).encode()).decode()}
