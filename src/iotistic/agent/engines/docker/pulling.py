"""Fetching of images: how they are named, how far it is, and what a registry's refusal means."""

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.errors import ImageNotFound, ImageUnavailable
from iotistic.agent.engines.port import Progress
from iotistic.planning.images import HUB, OFFICIAL, canonical, registry_of, split

_HUB_LOGIN = "https://index.docker.io/v1/"
_NOT_SHOWN = ("not found", "manifest unknown", "unauthorized", "denied", "no basic auth", "does not exist")
_NOT_FOUND = (401, 403, 404)


@dataclass(frozen=True)
class Credentials:
    """Who we are for a registry."""

    username: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)
    """What a registry gave in place of a password."""


Keyring = Callable[[str], Credentials | None]
"""Returns the credentials for a registry, by its host (and port)."""


def no_credentials(_host: str) -> Credentials | None:
    """Know nobody: registries that are open to all."""
    return None


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
    if short.startswith(OFFICIAL):
        ways += [short.removeprefix(OFFICIAL), f"{HUB}/{short.removeprefix(OFFICIAL)}"]
    return ways + [way.removesuffix(":latest") for way in ways if way.endswith(":latest")]


async def pull(client: DockerClient, image: str, keyring: Keyring, tell: Callable[[Progress], None]) -> None:
    """Fetch an image. Raises ImageNotFound and ImageUnavailable."""
    repository, version = split(image)
    query = {"fromImage": repository, "tag": version}
    layers: dict[str, Progress] = {}
    host = registry_of(image)
    credentials = keyring(host)
    tell(Progress(0, 0))
    try:
        async with client.open(
            "POST", "images/create", query=query, headers=_login(host, credentials)
        ) as response:
            async for line in client.lines(response):
                if "error" in line:
                    raise _meant(image, str(line["error"]), credentials)
                if _is_news(layers, line):
                    done, total = (sum(amount) for amount in zip(*layers.values(), strict=True))
                    tell(Progress(done, total))
    except Refused as exc:
        if exc.status in _NOT_FOUND:
            raise _hidden(image, exc.message, credentials) from exc
        raise _meant(image, exc.message, credentials) from exc


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


def _meant(image: str, said: str, credentials: Credentials | None) -> ImageNotFound | ImageUnavailable:
    if any(part in said.lower() for part in _NOT_SHOWN):
        return _hidden(image, said, credentials)
    return ImageUnavailable(f"{image}: {said}")


def _hidden(image: str, said: str, credentials: Credentials | None) -> ImageNotFound:
    known = "" if credentials else f" (no credentials for {registry_of(image)} are known)"
    return ImageNotFound(f"{image}: {said}{known}")


def _login(host: str, credentials: Credentials | None) -> dict[str, str]:
    if credentials is None:
        return {}
    said = {"serveraddress": _HUB_LOGIN if host == HUB else host}
    if credentials.token:
        said["identitytoken"] = credentials.token
    else:
        said |= {"username": credentials.username, "password": credentials.password}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(said).encode()).decode()}
