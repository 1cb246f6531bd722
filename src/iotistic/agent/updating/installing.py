"""Installs a version beside the one that runs: a virtual environment in the agent's own folder, never in /opt.

Nothing is asked of a network, and nothing is built: only files that were signed are unpacked. The agent needs no
more rights for it than it has, and the installed version stays as it is, as the way back.
"""

import asyncio
import contextlib
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

from iotistic.agent.updating.errors import ReleaseInvalid, UpdateNoRoom, UpdateNotInstalled
from iotistic.agent.updating.launching import python_of, versions_folder
from iotistic.agent.updating.release import Release
from iotistic.agent.updating.source import Source

_WITHIN_S = 900.0
_UNPACKED = 4
"""Times the size of its wheels that a version takes, with the wheels."""
_SPARE = 32 << 20
_WHOLE = ".whole"
_SAID = 300


class Installer:
    """For one agent's folder."""

    def __init__(self, data: Path) -> None:
        self._data, self._folder = data, versions_folder(data)

    async def install(self, release: Release, source: Source) -> None:
        """Install a version; returns when it is whole on the disk. Raises the errors of this room."""
        place = self._folder / release.version
        if (place / _WHOLE).exists():
            return
        files = list(release.fitting(platform.machine(), sys.version_info[:2]))
        if not any(one.name.startswith("iotistic-") for one in files):
            raise ReleaseInvalid(f"the release has nothing for {platform.machine()} in it")
        wheels = self._folder / f"{release.version}.wheels"
        try:
            self._make_room(place, wheels, sum(one.size for one in files))
            for one in files:
                await source.fetch(one, wheels)
            await self._unpack(place, [wheels / one.name for one in files])
            await self._check(release.version)
            await asyncio.to_thread(os.sync)
            (place / _WHOLE).touch()
        except OSError as exc:
            raise UpdateNotInstalled(f"the disk does not take it: {exc.strerror}") from exc
        finally:
            shutil.rmtree(wheels, ignore_errors=True)

    def keep_only(self, *versions: str) -> None:
        """Remove every further version but these."""
        with contextlib.suppress(OSError):
            for place in self._folder.iterdir():
                if place.is_dir() and place.name not in versions:
                    shutil.rmtree(place, ignore_errors=True)

    def _make_room(self, place: Path, wheels: Path, size: int) -> None:
        for folder in (place, wheels):
            shutil.rmtree(folder, ignore_errors=True)
        wheels.mkdir(parents=True)
        needed, free = size * _UNPACKED + _SPARE, shutil.disk_usage(self._folder).free
        if free < needed:
            raise UpdateNoRoom(f"{needed >> 20} MiB are needed, {free >> 20} MiB are free")

    async def _unpack(self, place: Path, wheels: list[Path]) -> None:
        has_pip = importlib.util.find_spec("pip") is not None
        await _run(sys.executable, "-P", "-m", "venv", *(["--without-pip"] if has_pip else []), str(place))
        python = str(place / "bin" / "python")
        # Ours can install into another environment, which saves unpacking one more pip.
        pip = (
            [sys.executable, "-P", "-m", "pip", "--python", python]
            if has_pip
            else [python, "-P", "-m", "pip"]
        )
        options = ("--quiet", "--no-input", "--no-index", "--no-deps", "--no-cache-dir")
        await _run(*pip, "--disable-pip-version-check", "install", *options, *map(str, wheels))

    async def _check(self, version: str) -> None:
        said = await _run(str(python_of(self._data, version)), "-P", "-m", "iotistic", "version")
        if version not in said.split():
            raise ReleaseInvalid(f"what was installed calls itself {said.strip()[:_SAID]!r}, not {version}")


async def _run(*words: str) -> str:
    """Return what a command says. Raises UpdateNotInstalled."""
    # Neither settings of pip nor Python's own are taken from the environment of the agent.
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
    }
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**environment, "PIP_CONFIG_FILE": os.devnull},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            said, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    output = said.decode(errors="replace")
    if process.returncode:
        last = " ".join(output.split())[-_SAID:]
        raise UpdateNotInstalled(f"{Path(words[0]).name} ended with {process.returncode}: {last}")
    return output
