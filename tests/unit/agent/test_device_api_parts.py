"""The key of the device API, and the machine under the agent."""

import asyncio
import stat
import sys

import pytest

from iotistic.agent.local_api.access import Mode
from iotistic.agent.local_api.host import SystemHost
from iotistic.agent.local_api.key import LocalKey
from iotistic.agent.local_api.problems import NotPossible, status_of
from iotistic.agent.local_api.settings import DeviceApiSettings
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.agent.store.store import Store
from iotistic.kernel.settings import SettingsInvalid, load_settings


@pytest.fixture
async def store(tmp_path):
    opened = await Store.open(tmp_path / "agent.sqlite")
    yield opened
    await opened.close()


async def test_the_key_is_made_once_and_only_its_owner_reads_the_file(store, tmp_path):
    file = tmp_path / "device-api.key"
    first = await LocalKey(store.device, file).ensure()
    file.chmod(0o644)
    second = await LocalKey(store.device, file).ensure()

    assert first == second == file.read_text().strip()
    assert len(first) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_key_that_is_set_takes_the_place_of_the_one_that_was_made(store, tmp_path):
    file = tmp_path / "device-api.key"
    await LocalKey(store.device, file).ensure()
    key = await LocalKey(store.device, file).ensure("a-key-of-a-person")

    assert key == file.read_text().strip() == (await store.device.load()).local_api_key


async def test_a_disk_that_takes_no_writes_has_a_key_for_now(store, tmp_path, monkeypatch):
    async def refuse(**_values):
        raise StoreUnavailable

    monkeypatch.setattr(store.device, "change", refuse)

    assert await LocalKey(store.device, tmp_path / "nowhere" / "device-api.key").ensure()


def machine(root, *names, systemd=False):
    if systemd:
        (root / "run/systemd/system").mkdir(parents=True)
    return SystemHost(
        root=root, is_privileged=lambda: True, find=lambda name: f"/bin/{name}" if name in names else None
    )


def test_systemd_is_asked_where_it_runs_and_shutdown_elsewhere(tmp_path):
    assert machine(tmp_path, "systemctl", "shutdown")._command("reboot", "-r") == [
        "/bin/shutdown",
        "-r",
        "now",
    ]
    assert machine(tmp_path, "systemctl", systemd=True)._command("poweroff", "-h") == [
        "/bin/systemctl",
        "poweroff",
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (machine, "neither systemd"),
        (lambda root: SystemHost(root=root, is_privileged=lambda: False), "not root"),
        (lambda root: [(root / ".dockerenv").touch(), machine(root, "shutdown")][1], "in a container"),
    ],
)
async def test_where_the_agent_may_not_it_says_why(tmp_path, make, said):
    host = make(tmp_path)
    for call in (host.reboot, host.shutdown):
        with pytest.raises(NotPossible, match=said) as refused:
            await call()
        assert status_of(refused.value) == 501
    with pytest.raises(NotPossible, match="nothing would start"):
        await host.restart_agent()


async def test_a_command_that_fails_is_told_in_its_own_words(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such right')"]
    with pytest.raises(NotPossible, match="no such right"):
        await SystemHost(root=tmp_path)._run(command)
    await SystemHost(root=tmp_path)._run([sys.executable, "-c", ""])


async def test_the_agent_ends_after_the_answer_is_out():
    ended = asyncio.Event()
    await SystemHost(ended.set).restart_agent()
    assert not ended.is_set()
    async with asyncio.timeout(5):
        await ended.wait()


def test_settings_say_who_may(monkeypatch):
    monkeypatch.setenv("API_SECURITY_MODE", "api_key")
    monkeypatch.setenv("API_KEY", "0123456789abcdef")
    settings = load_settings(DeviceApiSettings)

    assert (settings.policy.mode, settings.policy.needs_key) == (Mode.API_KEY, True)
    assert settings.given_key == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"), [("API_KEY", "short"), ("API_SECURITY_MODE", "ALL"), ("DEVICE_API_PORT", "70000")]
)
def test_settings_that_would_be_unsafe_or_senseless_are_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=name):
        load_settings(DeviceApiSettings)


def test_nothing_set_is_safe():
    settings = load_settings(DeviceApiSettings)

    assert (settings.policy.mode, settings.device_api_port) == (Mode.LOCALHOST_ONLY, 48484)
