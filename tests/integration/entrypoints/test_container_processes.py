"""What containers add to `up`: secrets made once, and the broker as a process that the authority steers."""

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

import httpx2
import pytest
from broker_fixtures import WireClient, eventually

from iotistic.entrypoints.prepare import PrepareSettings, prepare
from iotistic.kernel.process import die_with_parent, pick_port

MAC = "aabbccddee01"


def settings(folder):
    for name in ("postgres", "redis", "mqtt", "operator", "metrics", "grafana", "trust"):
        (folder / "secrets" / name).mkdir(parents=True, exist_ok=True)
    (folder / "identity").mkdir(exist_ok=True)
    return PrepareSettings(
        iotistic_home=folder / "home",
        secrets_folder=folder / "secrets",
        identity_folder=folder / "identity",
        mqtt_broker_host="iot.example.com",
    )


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def mode(path):
    return path.stat().st_mode & 0o777


def test_secrets_are_made_once_and_kept(tmp_path):
    prepare(settings(tmp_path))
    first = contents(tmp_path)
    prepare(settings(tmp_path))

    assert contents(tmp_path) == first
    passwords = [
        (tmp_path / "secrets" / name / "password").read_text() for name in ("postgres", "redis", "mqtt")
    ]
    assert len({*passwords}) == 3
    assert passwords[1].strip() in (tmp_path / "secrets/redis/redis.conf").read_text()


def test_only_what_images_of_others_read_is_readable_for_others(tmp_path):
    prepare(settings(tmp_path))
    secrets = tmp_path / "secrets"

    assert {mode(secrets / name) for name in ("mqtt/password", "operator/api-token")} == {0o600}
    assert {mode(secrets / name) for name in ("postgres/password", "redis/redis.conf")} == {0o444}
    assert mode(tmp_path / "identity" / "broker.key") == 0o600
    assert not list((tmp_path / "identity").glob("ca.key"))


@contextlib.contextmanager
def process(word, environment, log):
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "iotistic", word],
            env={"PATH": os.environ["PATH"]} | environment,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  no thread of ours holds a lock
        )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


def ready(url, log, *, trusted=None, within_s=30):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2, context=trusted) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.05)
    pytest.fail(log.read_text())


def device(wanted, issued, ports, folder):
    """Connect as a device with what the authority issued."""
    certificate = folder / "device.pem"
    certificate.write_text(issued["client_cert"] + issued["private_key"])
    trusted = ssl.create_default_context(cafile=wanted.identity_folder / "ca.crt")
    trusted.load_cert_chain(certificate)
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    return again(trusted, ports)


def again(trusted, ports, *, session=None):
    plain = socket.create_connection(("127.0.0.1", ports["devices"]), 5)
    stream = trusted.wrap_socket(plain, server_hostname="iot.example.com", session=session)
    return WireClient(stream, timeout_s=20)


async def test_a_broker_apart_serves_devices_and_puts_off_the_revoked(database, tmp_path):
    wanted = settings(tmp_path)
    await asyncio.to_thread(prepare, wanted)
    ports = {name: pick_port(0) for name in ("devices", "services", "metrics", "pki")}
    secrets = wanted.secrets_folder
    environment = {
        "IOTISTIC_HOME": str(wanted.iotistic_home),
        "IDENTITY_FOLDER": str(wanted.identity_folder),
        "MQTT_PORT": str(ports["devices"]),
        "MQTT_SERVICE_PORT": str(ports["services"]),
        "MQTT_SERVICE_PASSWORD_FILE": str(secrets / "mqtt/password"),
        "METRICS_PORT": str(ports["metrics"]),
        "PKI_PORT": str(ports["pki"]),
        "BROKER_WATCHES_FOLDER": "true",
        "API_TOKEN_FILE": str(secrets / "operator/api-token"),
        **database.environment(),
    }
    log = tmp_path / "broker.log"
    trusted = ssl.create_default_context(cafile=secrets / "trust/ca.crt")
    token = (secrets / "operator/api-token").read_text().strip()
    with process("broker", environment, log) as broker, process("pki", environment, tmp_path / "pki.log"):
        await asyncio.to_thread(ready, f"http://127.0.0.1:{ports['metrics']}", log)
        url = f"https://127.0.0.1:{ports['pki']}"
        await asyncio.to_thread(ready, url, tmp_path / "pki.log", trusted=trusted)
        async with httpx2.AsyncClient(
            base_url=url,
            verify=trusted,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        ) as authority:
            issued = (await authority.post("/issue", json={"mac": MAC})).json()
            connected = await asyncio.to_thread(device, wanted, issued, ports, tmp_path)
            assert (await asyncio.to_thread(connected.connect, MAC)).reason == 0
            revoked = (await authority.post("/revoke", json={"mac": MAC})).json()
            await asyncio.to_thread(connected.disconnect_reason)  # raises TimeoutError when it is left alone
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(device, wanted, issued, ports, tmp_path)
            # TLS 1.2 lets it resume its session, which makes the process start Mosquitto anew.
            resumed = again(connected.tls_context, ports, session=connected.tls_session)
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await asyncio.to_thread(resumed.connect, MAC)
            await asyncio.to_thread(resumed.disconnect_reason)
            await asyncio.to_thread(eventually, lambda: log.read_text().count("broker.started") == 2)
            with pytest.raises(ssl.SSLError):
                again(connected.tls_context, ports, session=connected.tls_session)
            connected.close()
            resumed.close()
        assert revoked["broker_enforced"]
        assert broker.poll() is None
        broker.terminate()

        assert await asyncio.to_thread(broker.wait, 20) == 0
