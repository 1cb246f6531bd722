"""The authority as the process that users run: killed in the middle of its work, stopped, misconfigured."""

import asyncio
import json
import os
import signal
import ssl
import sys

import httpx2
import pytest
from conftest import OPERATOR
from pki_builders import csr_of

from iotistic.kernel.process import pick_port
from iotistic.pki.csr import make_key

ISSUES = 40


@pytest.fixture
def environment(tmp_path, database) -> dict[str, str]:
    (tmp_path / "token").write_text(OPERATOR)
    return (
        {"PATH": os.environ["PATH"], "IOTISTIC_HOME": str(tmp_path / "home")}
        | {"PKI_PORT": str(pick_port(0)), "API_TOKEN_FILE": str(tmp_path / "token")}
        | {"MQTT_SERVICE_PORT": str(pick_port(0))}
        | database.environment()
    )


async def started(environment, log) -> asyncio.subprocess.Process:
    """Start the process and return once it says that it is ready."""
    log.touch()
    before = log.stat().st_size
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "iotistic", "pki", env=environment, stdout=output, stderr=output
        )
    async with asyncio.timeout(30):
        while b"pki.ready" not in log.read_bytes()[before:] and process.returncode is None:  # noqa: ASYNC110  a file says it
            await asyncio.sleep(0.05)
    assert process.returncode is None, log.read_text()
    return process


def client_for(environment, tmp_path) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=f"https://127.0.0.1:{environment['PKI_PORT']}",
        verify=ssl.create_default_context(cafile=tmp_path / "home" / "pki" / "ca.crt"),
        headers={"Authorization": f"Bearer {OPERATOR}"},
        timeout=10,
    )


def mac_of(number: int) -> str:
    return f"aabbccdde{number:03x}"


async def test_killed_in_the_middle_of_issuing_it_goes_on_where_it_was(environment, tmp_path, connection):
    log = tmp_path / "pki.log"
    process = await started(environment, log)
    requests = [{"mac": mac_of(n), "csr": csr_of(make_key())} for n in range(ISSUES)]
    async with client_for(environment, tmp_path) as client:
        issuing = [asyncio.create_task(client.post("/csr", json=request)) for request in requests]
        done, _ = await asyncio.wait(issuing, return_when=asyncio.FIRST_COMPLETED)
        process.kill()
        await process.wait()
        outcomes = await asyncio.gather(*issuing, return_exceptions=True)
    answered = [one.json() for one in outcomes if isinstance(one, httpx2.Response) and one.is_success]
    kept = {row["serial"] for row in await connection.fetch("SELECT serial FROM certificates")}

    second = await started(environment, log)
    async with client_for(environment, tmp_path) as client:
        again = [(await client.post("/csr", json=request)) for request in requests]
        health = await client.get("/health/ready")
    second.send_signal(signal.SIGTERM)
    status = await asyncio.wait_for(second.wait(), 15)

    assert len(done) > 0
    assert {one["serial"] for one in answered} <= kept
    assert [one.status_code for one in again] == [200] * ISSUES
    assert {one["serial"] for one in answered} <= {one.json()["serial"] for one in again}
    assert health.json()["ready"] is True
    assert status == 0


async def test_a_revocation_that_the_crash_left_unlisted_is_listed_at_the_next_start(
    environment, tmp_path, connection
):
    log = tmp_path / "pki.log"
    process = await started(environment, log)
    async with client_for(environment, tmp_path) as client:
        serial = (await client.post("/csr", json={"mac": mac_of(1), "csr": csr_of(make_key())})).json()[
            "serial"
        ]
        process.kill()
        await process.wait()
    await connection.execute(
        "UPDATE certificates SET revoked_at = now(), revoked_reason = 'unspecified' WHERE serial = $1", serial
    )
    second = await started(environment, log)
    second.terminate()
    await asyncio.wait_for(second.wait(), 15)
    listed = (await _openssl("crl", "-in", str(tmp_path / "home/pki/crl.pem"), "-noout", "-text")).lower()

    assert serial in listed


async def _openssl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec("openssl", *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    return output.decode()


@pytest.mark.parametrize(
    ("spoiled", "code"),
    [
        ({"PKI_PORT": "70000", "DEVICE_EXPIRY": "0"}, "settings.invalid"),
        ({"CA_KEY": "/nowhere/ca.key", "CA_CERT": "/nowhere/ca.crt"}, "pki.authority_unusable"),
        ({"API_TOKEN_FILE": "/nowhere/token"}, "settings.invalid"),
    ],
)
async def test_a_wrong_setting_ends_it_with_a_clear_message(environment, spoiled, code):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "pki", "--json"),
        env=environment | spoiled,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 2
    assert json.loads(errors.splitlines()[-1])["error"]["code"] == code


async def test_secrets_are_not_in_its_log(environment, tmp_path):
    log = tmp_path / "pki.log"
    process = await started(environment | {"LOG_LEVEL": "debug"}, log)
    async with client_for(environment, tmp_path) as client:
        token = (await client.post("/tokens", json={})).json()["token"]
        await client.post("/issue", json={"mac": mac_of(2)}, headers={"Authorization": f"Bearer {token}"})
        await client.get("/tokens", headers={"Authorization": f"Bearer {token}x"})
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.wait(), 15)
    text = log.read_text()

    assert "certificate.issued" in text
    assert token not in text
    assert OPERATOR not in text
    assert "PRIVATE KEY" not in text
