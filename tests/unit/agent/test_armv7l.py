"""The agent on a 32-bit Raspberry Pi: nothing is imported there but what has a wheel for it.

The list of distributions is that of uv.lock: what the base install and the extra `agent` need, and what that needs.
"""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src"
LOCK = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
ROOMS = (
    "iotistic.agent",
    "iotistic.planning",
    "iotistic.entrypoints.agent",
    "iotistic.entrypoints.iotctl",
    "iotistic.entrypoints.commands.agent",
    "iotistic.entrypoints.cli",
)
# These have no wheel for armv7l on PyPI. piwheels.org, which Raspberry Pi OS asks by itself, has; and
# deploy/install.sh asks it on other systems.
FROM_PIWHEELS = {"cffi"}
# Loaded when somebody wishes what it does, with the absence of numpy as a reason to refuse: see forecasting.py.
NEEDS_NUMPY = {"iotistic.agent.anomalies.equipping"}

BLOCKED = """
import importlib, json, sys

blocked, modules = json.loads(sys.stdin.read())

class OnlyTheirs:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not on the device", name=name)

sys.meta_path.insert(0, OnlyTheirs())
for module in modules:
    importlib.import_module(module)
print(len(modules))
"""


def needed():
    """Return the distributions on a device, with all that they need."""
    ours = LOCK["iotistic"]
    todo = [*ours["dependencies"], *ours["optional-dependencies"]["agent"]]
    found = set()
    while todo:
        name = todo.pop()["name"]
        if name not in found:
            found.add(name)
            todo += LOCK[name].get("dependencies", [])
    return found


def modules_of(room):
    """Return the module, or all modules below a package; none of a room that does not stand yet."""
    path = SOURCE.joinpath(*room.split("."))
    files = [path.with_suffix(".py"), *path.rglob("*.py")]
    there = [file for file in files if file.exists() and file.name != "__main__.py"]
    names = [file.relative_to(SOURCE).with_suffix("").parts for file in there]
    return sorted({".".join(part for part in parts if part != "__init__") for parts in names})


@pytest.fixture(scope="module")
def blocked():
    """Every importable name here that belongs to a distribution which a device has not."""
    there = needed() | {"iotistic"}
    owners = importlib.metadata.packages_distributions()
    return sorted(
        name
        for name, distributions in owners.items()
        if not {one.lower().replace("_", "-") for one in distributions} & there
    )


def import_with(blocked, modules):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED],
        input=json.dumps([blocked, modules]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def runs_on_armv7l(wheel):
    """Say whether Python 3.11 or newer on a 32-bit Raspberry Pi OS takes a wheel."""
    _name, python, abi, platform = wheel.removesuffix(".whl").rsplit("-", 3)
    if platform == "any":
        return abi == "none" and "py3" in python
    return (
        "linux" in platform
        and "musl" not in platform
        and "armv7l" in platform
        and (python == "cp311" or abi == "abi3")
    )


def wheels(name):
    return [wheel["url"].rpartition("/")[2] for wheel in LOCK[name].get("wheels", ())]


@pytest.mark.parametrize("room", ROOMS)
def test_the_agent_imports_with_nothing_but_what_a_device_has(room, blocked):
    modules = [module for module in modules_of(room) if module not in NEEDS_NUMPY]
    done = import_with(blocked, modules)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(modules)


@pytest.mark.parametrize("missing", ["msgspec", "numpy", "uvloop", "asyncpg", "httpx2", "fastapi"])
def test_what_a_device_has_not_is_blocked(missing, blocked):
    assert missing not in needed()
    done = import_with(blocked, [missing])

    assert done.returncode != 0
    assert "is not on the device" in done.stderr


def test_the_agents_rooms_are_where_they_are_looked_for():
    assert len(modules_of("iotistic.agent")) > 50
    assert modules_of("iotistic.entrypoints.commands.agent") == ["iotistic.entrypoints.commands.agent"]


@pytest.mark.parametrize("name", sorted(needed() - FROM_PIWHEELS))
def test_what_the_agent_needs_has_a_wheel_for_32_bit_arm(name):
    assert any(map(runs_on_armv7l, wheels(name))), wheels(name)


@pytest.mark.parametrize("name", sorted(FROM_PIWHEELS))
def test_what_comes_from_piwheels_has_no_wheel_elsewhere(name):
    assert name in needed()
    assert not any(map(runs_on_armv7l, wheels(name)))
