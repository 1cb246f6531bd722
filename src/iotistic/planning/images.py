"""Names of images, compared by what they mean: `nginx` is `docker.io/library/nginx:latest`."""

from functools import lru_cache

HUB = "docker.io"
"""The registry of names without a host."""
OFFICIAL = "library/"
"""Where the Hub keeps images without an owner."""
_HUBS = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
_NAMES_KEPT = 4096


def registry_of(image: str) -> str:
    """Return the host (and port) that an image comes from."""
    host, _ = _host_and_path(image)
    return host


def split(image: str) -> tuple[str, str]:
    """Return an image's repository and its tag or digest; a digest says more than a tag beside it."""
    name, at, digest = image.partition("@")
    head, colon, tag = name.rpartition(":")
    repository, tag = (head, tag) if colon and "/" not in tag else (name, "latest")
    return repository, digest if at else tag


@lru_cache(maxsize=_NAMES_KEPT)
def canonical(image: str) -> str:
    """Return one spelling for all that mean the same image."""
    repository, version = split(image)
    host, path = _host_and_path(repository)
    if host == HUB and "/" not in path:
        path = OFFICIAL + path
    return f"{host}/{path}{'@' if ':' in version else ':'}{version}"


def repository_of(image: str) -> str:
    """Return an image's name without tag and digest, in the one spelling."""
    return split(canonical(image))[0]


def are_same(one: str, other: str) -> bool:
    """Say whether two names mean the same image."""
    return one == other or canonical(one) == canonical(other)


def _host_and_path(name: str) -> tuple[str, str]:
    head, slash, tail = name.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        return HUB, name
    return HUB if head in _HUBS else head, tail
