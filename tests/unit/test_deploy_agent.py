"""What stands in deploy/ and Dockerfile.agent for the agent fits the code, and each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile.agent").read_text()
INSTALLER = (ROOT / "deploy/install.sh").read_text()
UNIT = (ROOT / "deploy/agent/iotistic-agent.service").read_text()
SETTINGS = (ROOT / "deploy/agent/agent.env").read_text()
ROLE = ROOT / "deploy/ansible/roles/iotistic_agent"
FIELD = re.compile(r"^    ([a-z_]+): ", re.MULTILINE)


def fields():
    """Return the names of all fields in the source that may be settings."""
    return {name for file in (ROOT / "src").rglob("*.py") for name in FIELD.findall(file.read_text())}


def test_the_image_is_nobodys_root_and_says_how_it_is():
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "/ping" in DOCKERFILE[DOCKERFILE.index("HEALTHCHECK") :]
    assert "VOLUME /var/lib/iotistic-agent" in DOCKERFILE


@pytest.mark.parametrize(
    ("device", "platform"), [("pi3", "linux/arm/v7"), ("pi4", "linux/arm64"), ("x86", "linux/amd64")]
)
def test_the_image_is_made_for_each_kind_of_device(device, platform):
    assert f"FROM --platform={platform} ${{BASE}} AS base-{device}\nENV DEVICE_TYPE={device}\n" in DOCKERFILE


def test_numpy_for_forecasts_is_the_same_extra_for_pip_image_and_installer():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert [one.partition(">")[0] for one in extras["forecast"]] == ["numpy"]
    assert "ARG EXTRAS=agent\n" in DOCKERFILE
    assert re.search(r"forecast \"\*\).*-c 'import numpy'", DOCKERFILE, re.DOTALL)
    assert "extras=agent,forecast" in INSTALLER


def test_the_example_names_settings_that_exist():
    named = set(re.findall(r"^#?([A-Z_]+)=", SETTINGS, re.MULTILINE))
    plain = {name.lower() for name in named} - fields()

    assert len(named) > 8
    assert {name.removesuffix("_file") for name in plain} - fields() == set()


def test_the_example_holds_no_secret():
    given = re.findall(r"^([A-Z_]+)=(.*)$", SETTINGS, re.MULTILINE)

    assert given == [("DEVICE_TYPE", "standalone")]


@pytest.mark.parametrize(
    "line",
    [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "StateDirectory=iotistic-agent",
        "Restart=always",
        "User=iotistic-agent",
    ],
)
def test_the_service_has_no_rights_and_is_always_started_again(line):
    assert line in UNIT.splitlines()


def test_the_service_runs_what_the_installer_installs():
    assert "ExecStart=/opt/iotistic-agent/current/bin/iotistic agent-process" in UNIT
    assert "name=iotistic-agent\n" in INSTALLER
    assert "EnvironmentFile=-/etc/iotistic-agent/agent.env" in UNIT


def test_the_installer_runs_nothing_from_the_network():
    assert re.findall(r"\b(curl|wget)\b", INSTALLER) == []
    assert re.findall(r"https?://[^\s*)]+", INSTALLER) == [
        "https://www.piwheels.org/simple",
        "https://cloud.example",
    ]


@pytest.mark.parametrize("file", sorted(ROLE.rglob("*.yml")), ids=lambda file: str(file.relative_to(ROLE)))
def test_the_roles_files_are_yaml(file):
    assert yaml.safe_load(file.read_text())


def test_the_role_copies_files_that_are_there():
    tasks = yaml.safe_load((ROLE / "tasks/installer.yml").read_text())
    copied = next(task["loop"] for task in tasks if "loop" in task)

    assert copied
    assert all((ROOT / "deploy" / name).is_file() for name in copied)


def test_every_variable_of_the_role_has_a_default():
    said = "".join(file.read_text() for file in ROLE.glob("tasks/*.yml"))
    tasks = [task for file in ROLE.glob("tasks/*.yml") for task in yaml.safe_load(file.read_text())]
    made = {task["register"] for task in tasks if "register" in task}
    made |= {name for task in tasks for name in task.get("ansible.builtin.set_fact", ())}
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())

    assert set(re.findall(r"\biotistic_agent_\w+", said)) - made == set(defaults)
