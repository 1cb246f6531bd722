"""Names of images, the registries that they are in, and the digests that take the place of tags. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

from pydantic import SecretStr

from iotistic.kernel.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from iotistic.planning.images import HUB, canonical

HUB_REGISTRY = "registry-1.docker.io"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?"
)
_PATH = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MOST_PATH = 255


class ImageNameInvalid(Invalid):
    """This is not the name of an image that a registry could have."""

    code = "image.name_invalid"


class ImageUnknown(NotFound):
    """The registry has no such image, or shows it to others only."""

    code = "image.unknown"


class RegistryRefused(Denied):
    """The registry does not let us in."""

    code = "image.registry_refused"


class RegistryAway(Unavailable):
    """The registry does not answer, or not as registries do."""

    code = "image.registry_away"


class AddressRefused(Denied):
    """This server asks no registry at this address."""

    code = "image.address_refused"


class RegistryUnknown(NotFound):
    """There is no such registry here."""

    code = "image.registry_unknown"


class RegistriesTooMany(Conflict):
    """There are as many registries as there may be."""

    code = "image.registries_too_many"


class HostInvalid(Invalid):
    """This is no host of a registry."""

    code = "image.host_invalid"


class Reference(NamedTuple):
    """An image by its tag: `host` as names have it (docker.io for the Hub)."""

    host: str
    path: str
    tag: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """How a registry is spoken to; one that nobody described is asked over TLS, as nobody."""

    host: str
    username: str = ""
    password: SecretStr | None = None
    ca_pem: str = field(default="", repr=False)
    is_plain: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryRow:
    """A registry as it is shown."""

    host: str
    username: str
    has_password: bool
    ca_pem: str
    is_plain: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Pins:
    """What tags stand for: image as it is named -> with its digest; and why others are not known, code and reason."""

    found: Mapping[str, str]
    missed: Mapping[str, tuple[str, str]]


def reference_of(image: str) -> Reference:
    """Return what an image's tag means. Raises ImageNameInvalid."""
    host, _, rest = canonical(image).partition("/")
    path, _, tag = rest.rpartition(":")
    if "@" in rest or not (_PATH.fullmatch(path) and _TAG.fullmatch(tag) and len(path) <= _MOST_PATH):
        raise ImageNameInvalid(image=image[:200])
    return Reference(check_host(host), path, tag)


def manifest_of(image: str) -> Reference:
    """Return where an image's manifest is, by its digest when it is named by one. Raises ImageNameInvalid."""
    name, _, digest = image.partition("@")
    if not digest:
        return reference_of(image)
    if not DIGEST.fullmatch(digest):
        raise ImageNameInvalid(image=image[:200])
    return reference_of(name)._replace(tag=digest)


def check_host(host: str) -> str:
    """Return the host of a registry, in small letters. Raises HostInvalid."""
    _, _, port = host.rpartition(":")
    if not _HOST.fullmatch(host) or (port.isdecimal() and ":" in host and not 0 < int(port) < 2**16):
        raise HostInvalid(host=host[:200])
    return host.lower()


def is_pinned(image: str) -> bool:
    """Say whether an image is named by a digest already."""
    return "@" in image


def with_digest(image: str, digest: str) -> str:
    """Return `name:tag@digest`: the digest decides, the tag tells people where it came from."""
    return f"{image}@{digest}"


def images_of(content: Mapping[str, Any]) -> list[str]:
    """Return the images that a target without faults names by tags, each once."""
    services = [service for app in _apps(content).values() for service in _services(app)]
    found = [image for service in services for _, _, image in _places(service)]
    return [image for image in dict.fromkeys(found) if not is_pinned(image)]


def pinned(content: Mapping[str, Any], pins: Mapping[str, str]) -> dict[str, Any]:
    """Return a target with digests where they are known."""
    apps: dict[str, Any] = {}
    for app_id, app in _apps(content).items():
        services = [_pinned(one, pins) for one in _services(app)]
        apps[app_id] = {**app, "services": services} if "services" in app else app
    return {**content, "apps": apps} if "apps" in content else dict(content)


def hub_or(host: str) -> str:
    """Return where a registry really is: the Hub has another name than its images."""
    return HUB_REGISTRY if host == HUB else host


def _pinned(service: Mapping[str, Any], pins: Mapping[str, str]) -> dict[str, Any]:
    new = dict(service)
    for within, key, image in list(_places(service)):
        if image not in pins:
            continue
        if within:
            new["config"] = {**new["config"], key: pins[image]}
        else:
            new[key] = pins[image]
    return new


def _apps(content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return cast("Mapping[str, Mapping[str, Any]]", content.get("apps") or {})


def _services(app: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return cast("list[Mapping[str, Any]]", app.get("services") or [])


def _places(service: Mapping[str, Any]) -> Iterator[tuple[bool, str, str]]:
    """Yield where a service names its image: (in its config?, key, image)."""
    config = service.get("config")
    within: Mapping[str, Any] = cast("Mapping[str, Any]", config) if isinstance(config, Mapping) else {}
    for is_within, key, value in (
        (True, "image", within.get("image")),
        (False, "image", service.get("image")),
        (False, "imageName", service.get("imageName")),
    ):
        if isinstance(value, str):
            yield is_within, key, value
