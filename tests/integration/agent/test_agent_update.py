"""The agent's own update as a process: a signed wheel is installed beside, tried out, kept or given up.

The versions that are installed here are small wheels of the same name; what runs of them is the agent under test.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import sys
import zipfile
from dataclasses import dataclass, field

import pytest
from agent_broker import until
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from double_provisioning import PROVISIONING_KEY, ProvisioningDouble
from tests.integration.agent.cloud_double import CloudDouble

from iotistic.agent.updating.launching import versions_folder
from iotistic.agent.updating.release import describe_release, description_name
from iotistic.agent.updating.signing import sign_release
from iotistic.agent.updating.standing import Chosen, Standing, load, save
from iotistic.kernel.process import pick_port

# What a wheel runs as: it names itself for `version`, and is the agent under test otherwise, or ends at once.
MAIN = """
import os, sys
if sys.argv[1:] == ["version"]:
    print("iotistic", {version!r})
elif {ends}:
    sys.exit(3)
else:
    os.execv({python!r}, [{python!r}, "-m", "iotistic", *sys.argv[1:]])
"""


def wheel(folder, version, *, ends=False):
    """Write a wheel of iotistic that pip installs."""
    info = f"iotistic-{version}.dist-info"
    files = {
        "iotistic/__init__.py": "",
        "iotistic/__main__.py": MAIN.format(version=version, ends=ends, python=sys.executable),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: iotistic\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}\n"
        for name, text in files.items()
    )
    with zipfile.ZipFile(folder / f"iotistic-{version}-py3-none-any.whl", "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)


@dataclass
class Orders:
    """The cloud's routes for updates."""

    order: dict | None = None
    told: list = field(default_factory=list)

    def add(self, app):
        app.router.add_get("/api/v1/device/{uuid}/agent-update", self._next)
        app.router.add_patch("/api/v1/device/{uuid}/agent-update/status", self._status)

    async def _next(self, _request):
        if self.order is None:
            return web.json_response({"error": "update.none", "message": "none"}, status=404)
        return web.json_response(self.order)

    async def _status(self, request):
        self.told.append(await request.json())
        return web.json_response({"status": "ok"})

    def words(self, update_id):
        return [one["type"].removeprefix("update_") for one in self.told if one.get("update_id") == update_id]


class Device:
    """A device's folder, the source of its releases, its cloud; who starts the agent is the test."""

    def __init__(self, folder, cloud, orders):
        self.folder, self.cloud, self.orders = folder, cloud, orders
        self.releases = folder / "releases"
        self.releases.mkdir()
        self.key = Ed25519PrivateKey.generate()
        self.data = folder / "data"
        self.port = pick_port(0)

    def release(self, version, key=None, **how):
        for older in self.releases.glob("*.whl"):
            older.unlink()
        wheel(self.releases, version, **how)
        private = (key or self.key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        description = describe_release(self.releases, version)
        (self.releases / description_name(version)).write_bytes(description)
        (self.releases / f"{description_name(version)}.sig").write_bytes(sign_release(description, private))

    def environment(self, **more):
        public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {
            **os.environ,
            "CLOUD_API_ENDPOINT": self.cloud.url,
            "PROVISIONING_KEY": PROVISIONING_KEY,
            "DEVICE_API_PORT": str(self.port),
            "CONFIG_DIR": str(self.data),
            "IOTISTIC_HOME": str(self.folder / "home"),
            "AGENT_UPDATE_SOURCE": str(self.releases),
            "AGENT_UPDATE_KEY": public.decode(),
            "AGENT_UPDATE_TRIAL_S": "60",
            **more,
        }

    async def start(self, **more):
        with (self.folder / "log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iotistic", "agent-process", "--engine", "simulated"),
                env=self.environment(**more),
                stdout=output,
                stderr=output,
            )

    @contextlib.asynccontextmanager
    async def agent(self, **more):
        process = await self.start(**more)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(20):
                await process.wait()

    async def says(self, update_id, word):
        await until(lambda: word in self.orders.words(update_id), within_s=60)

    @property
    def standing(self):
        return load(versions_folder(self.data))


@pytest.fixture
async def device(tmp_path):
    orders, provisioning = Orders(), ProvisioningDouble()
    double = CloudDouble((provisioning.add, orders.add))

    def changing(route, answer):
        if route == "register":
            double.uuid = answer["device"]["uuid"]
        return answer

    provisioning.changing = changing
    double.accepts = lambda key: any(key in one.api_keys for one in provisioning.devices.values())
    async with double.running():
        yield Device(tmp_path, double, orders)


async def test_lesson_17_a_new_version_stays_once_it_proved_itself_and_one_that_dies_is_given_up(device):
    """The update ran anew at each restart, through a shell, and nothing brought the old version back."""
    device.release("9.9.1")
    device.orders.order = {"action": "update", "version": "9.9.1", "update_id": "good"}
    async with device.agent() as process:
        await device.says("good", "succeeded")
        words, proved = device.orders.words("good"), device.standing.chosen
        same_process = process.returncode is None
    device.release("9.9.2", ends=True)
    device.orders.order = {"action": "update", "version": "9.9.2", "update_id": "bad"}
    async with device.agent() as process:  # it starts the proved one, which takes the next order
        async with asyncio.timeout(60):
            died = await process.wait()
    again = await device.start()
    async with asyncio.timeout(30):
        died_again = await again.wait()
    async with device.agent():
        await device.says("bad", "failed")
        after = device.standing.chosen
    failed = next(one for one in device.orders.told if one["type"] == "update_failed")
    asked_again = device.orders.words("good").count("started")

    assert words == ["command_received", "started", "succeeded"]
    assert (proved.version, proved.is_trial, same_process) == ("9.9.1", False, True)
    assert (died, died_again) == (3, 3)
    assert (failed["code"], failed["current_version"]) == ("update.rolled_back", "9.9.1")
    assert (after.version, after.is_trial, asked_again) == ("9.9.1", False, 1)


async def test_what_is_not_signed_is_not_installed_and_the_device_goes_on(device):
    device.release("9.9.1", key=Ed25519PrivateKey.generate())
    device.orders.order = {"version": "9.9.1", "update_id": "foreign", "force": True}
    async with device.agent():
        await device.says("foreign", "failed")
    device.release("9.9.2")
    (device.releases / "iotistic-9.9.2-py3-none-any.whl").write_bytes(b"something else")
    device.orders.order = {"version": "9.9.2", "update_id": "changed"}
    async with device.agent() as process:
        await device.says("changed", "failed")
        goes_on = process.returncode is None
    device.orders.order = {"version": "9.9.2", "update_id": "unset"}
    async with device.agent(AGENT_UPDATE_SOURCE=""):
        await device.says("unset", "failed")
    codes = [one["code"] for one in device.orders.told if one["type"] == "update_failed"]

    assert codes == ["update.release_untrusted", "update.release_untrusted", "update.not_set_up"]
    assert goes_on
    assert device.standing.chosen is None
    assert [one.name for one in versions_folder(device.data).iterdir()] == ["standing.json"]


async def test_a_new_version_that_hangs_is_ended_by_the_kernel(device):
    """Who hangs confirms nothing; the alarm outlives exec and needs nothing of the new version."""
    python = versions_folder(device.data) / "9.9.3" / "bin" / "python"
    python.parent.mkdir(parents=True)
    told = device.folder / "told"
    python.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, signal, sys\n"
        "words = [signal.alarm(0), os.environ['IOTISTIC_AGENT_LAUNCHED'], *sys.argv[1:]]\n"
        f"pathlib.Path({str(told)!r}).write_text(' '.join(map(str, words)))\n"
    )
    python.chmod(0o755)
    installed = json.loads(await _version())["iotistic"]
    save(versions_folder(device.data), Standing(Chosen("9.9.3", installed, trial_s=20)))
    process = await device.start()
    async with asyncio.timeout(30):
        await process.wait()
    left_s, *words = told.read_text().split()

    assert 40 <= int(left_s) <= 50
    assert words == ["9.9.3", "-P", "-m", "iotistic", "agent-process", "--engine=simulated"]


async def _version():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "version", "--json"), stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0]
