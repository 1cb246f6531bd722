"""Credentials of registries, from a file as Docker's `config.json` has them. It is read again when it changes.

    {"auths": {"registry.example:5000": {"auth": "<base64 of user:password>"},
               "https://index.docker.io/v1/": {"username": "...", "password": "..."}}}

A file that is broken leaves what was known before: whoever writes it may be in the middle. Programs that hold
credentials (`credsStore`, `credHelpers`) are not run. Nothing of what stands in the file is logged.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import structlog

from iotistic.agent.engines.docker.pulling import Credentials, Keyring
from iotistic.agent.engines.docker.settings import RegistrySettings
from iotistic.planning.images import HUB

log = structlog.get_logger()

FILE_NAME = "registries.json"
_OPEN_TO_OTHERS = 0o077
_MOST_BYTES = 1 << 20
_HUBS = ("index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105  how Docker writes that the password is a token


def keyring_of(settings: RegistrySettings, data: Path) -> Keyring:
    """Return what an engine asks for credentials; `data` is the agent's folder."""
    return FileKeyring(settings.registry_auth_file or data / FILE_NAME)


class FileKeyring:
    """Knows what stands in one file now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._known: Mapping[str, Credentials] = {}

    def __call__(self, host: str) -> Credentials | None:
        """Return the credentials for a registry, by its host (and port)."""
        self._look()
        return self._known.get(host)

    def _look(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._known = (), {}
            return
        except OSError as exc:
            self._refuse(str(exc.strerror))
            return
        seen = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        if found.st_mode & _OPEN_TO_OTHERS:
            log.warning("registries.open", path=str(self._path), fix="chmod 600")
        try:
            self._known = read_auths(self._path.read_bytes()[:_MOST_BYTES])
        except OSError as exc:
            self._refuse(str(exc.strerror))
        except ValueError:
            # Not the error's own words: they may hold some of the file.
            self._refuse('it is to be JSON such as {"auths": {"host": {"auth": "..."}}}')
        else:
            log.info("registries.read", path=str(self._path), registries=len(self._known))

    def _refuse(self, reason: str) -> None:
        log.warning("registries.refused", path=str(self._path), reason=reason)


def read_auths(content: bytes) -> dict[str, Credentials]:
    """Read credentials by host; entries without any are left out. Raises ValueError."""
    try:
        document: object = json.loads(content)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    auths = _object(_object(document).get("auths", {}))
    found = {host_of(name): _credentials(_object(entry)) for name, entry in auths.items()}
    return {host: credentials for host, credentials in found.items() if credentials is not None}


def host_of(name: str) -> str:
    """Return the host that an entry is for: people write it with a scheme and a path, Docker Hub in any case."""
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in _HUBS else host


def _credentials(entry: Mapping[str, Any]) -> Credentials | None:
    username, password = entry.get("username"), entry.get("password")
    if (auth := entry.get("auth")) and isinstance(auth, str):
        said = base64.b64decode(auth, validate=True).decode()
        username, _, password = said.partition(":")
        password = password.rstrip("\0")
    token = entry.get("identitytoken") or (password if username == _TOKEN_USER else None)
    if token and isinstance(token, str):
        return Credentials("", "", token)
    if username and isinstance(username, str) and isinstance(password, str):
        return Credentials(username, password)
    return None


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object is wanted")  # noqa: TRY004  it is what was read that is wrong
    return cast("Mapping[str, Any]", value)
