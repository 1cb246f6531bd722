"""A release as its makers describe and sign it.

    iotistic-agent-1.4.2.json       {"version": "1.4.2", "files": [{"name", "sha256", "size"}]}
    iotistic-agent-1.4.2.json.sig   64 bytes of Ed25519 over the line above it, in base64
    iotistic-agent-latest.json      the same, of the newest one
    *.whl                           the agent and everything that it needs, for every kind of device

The signature (see signing) says which files belong to which version; where they lie does not matter.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iotistic.agent.updating.errors import ReleaseInvalid, ReleaseUntrusted
from iotistic.contracts.agent_updates import LATEST, VERSION
from iotistic.contracts.reading import Fault, Fields, text, whole

MOST_DESCRIPTION = 256 * 1024
_MOST_FILE, _MOST_FILES, _MOST_ALL = 128 << 20, 500, 512 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}\.whl")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TAGS = 3


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One wheel."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """One version."""

    version: str
    files: tuple[ReleaseFile, ...]

    def fitting(self, machine: str, python: tuple[int, int]) -> Iterator[ReleaseFile]:
        """Yield the files for one kind of machine (`platform.machine`) and Python."""
        return (one for one in self.files if _fits(one.name, machine, python))


def description_name(version: str) -> str:
    """Return the name of the file that describes a version, or `latest`."""
    return f"iotistic-agent-{version}.json"


def read_release(wanted: str, description: bytes, signature: bytes, key_pem: str) -> Release:
    """Return what is signed. Raises UpdateNotSetUp, ReleaseUntrusted, ReleaseInvalid."""
    # Signatures take megabytes, and an agent meets one when it is updated.
    from iotistic.agent.updating.signing import check_signature  # noqa: PLC0415

    check_signature(wanted, description, signature, key_pem)
    release = _described(description)
    if wanted not in {LATEST, release.version}:
        raise ReleaseUntrusted(f"what is signed as {wanted} describes {release.version}")
    return release


def describe_release(folder: Path, version: str) -> bytes:
    """Describe the wheels in a folder. Raises ReleaseInvalid."""
    files = [
        {"name": one.name, "sha256": hashlib.sha256(one.read_bytes()).hexdigest(), "size": one.stat().st_size}
        for one in sorted(folder.glob("*.whl"))
    ]
    description = json.dumps({"version": version, "files": files}, indent=1).encode()
    _described(description)
    if not any(str(one["name"]).startswith(f"iotistic-{version}-") for one in files):
        raise ReleaseInvalid(f"there is no wheel of iotistic {version} in {folder}")
    return description


def _described(description: bytes) -> Release:
    faults: list[Fault] = []
    try:
        fields = Fields(json.loads(description), "", faults)
    except (ValueError, RecursionError) as exc:
        raise ReleaseInvalid("the description is not JSON") from exc
    version = fields.need("version", text(32), "")
    if not re.fullmatch(VERSION, version):
        fields.fault("version", "is to be three numbers")
    files = tuple(_file(one, f"files[{place}]", faults) for place, one in enumerate(fields.entries("files")))
    if not 0 < len(files) <= _MOST_FILES or sum(one.size for one in files) > _MOST_ALL:
        fields.fault("files", "is to name 1 to 500 files of 512 MiB in all")
    if faults:
        raise ReleaseInvalid("; ".join(str(fault) for fault in faults[:10]))
    return Release(version, files)


def _file(value: object, path: str, faults: list[Fault]) -> ReleaseFile:
    fields = Fields(value, path, faults)
    name, sha256 = fields.need("name", text(204), ""), fields.need("sha256", text(64), "")
    if not _NAME.fullmatch(name) or not _SHA256.fullmatch(sha256):
        fields.fault("name", "is to be the name of a wheel, with its SHA-256")
    return ReleaseFile(name, sha256, fields.need("size", whole(1, _MOST_FILE), 1))


def _fits(name: str, machine: str, python: tuple[int, int]) -> bool:
    tags = name.removesuffix(".whl").split("-")[-_TAGS:]
    if len(tags) < _TAGS:
        return False
    pythons, abi, platforms = tags[0].split("."), tags[1], tags[2].split(".")
    on_machine = any(
        one == "any" or (one.endswith(f"_{machine}") and not one.startswith("musllinux")) for one in platforms
    )
    return on_machine and any(_runs_on(one, abi, python) for one in pythons)


def _runs_on(tag: str, abi: str, python: tuple[int, int]) -> bool:
    if tag.startswith("py3"):
        return True
    minor = tag.removeprefix("cp3")
    if not tag.startswith("cp3") or not minor.isdecimal():
        return False
    return int(minor) == python[1] or ("abi3" in abi and int(minor) <= python[1])
