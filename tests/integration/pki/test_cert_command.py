"""`iotistic cert` as a process, against the authority over HTTPS."""

import asyncio
import json
import os
import ssl
import stat
import sys

import pytest
from conftest import OPERATOR

MAC = "aa:bb:cc:dd:ee:01"


@pytest.fixture
def cert(authority, tmp_path):
    """Run `iotistic cert ...` and return its exit status, output and errors."""
    environment = {
        "PATH": os.environ["PATH"],
        "IOTISTIC_HOME": str(authority.home.path),
        "IOTISTIC_PKI_URL": f"https://127.0.0.1:{authority.port}",
        "IOTISTIC_API_TOKEN": OPERATOR,
    }

    async def run(*arguments: object, **others: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic", "cert", *map(str, arguments)),
            env=environment | others,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, output.decode(), errors.decode()

    return run


async def test_issue_writes_a_usable_identity_that_only_its_owner_reads(cert, tmp_path):
    status, output, errors = await cert("issue", MAC, "--out", tmp_path / "device", "--json")
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "device").iterdir()}
    context = ssl.create_default_context(cafile=tmp_path / "device" / "ca.crt")
    context.load_cert_chain(tmp_path / "device" / "client.crt", tmp_path / "device" / "client.key")

    assert status == 0, errors
    assert json.loads(output)["mac"] == MAC
    assert files == {"client.key": 0o600, "client.crt": 0o600, "ca.crt": 0o600}
    assert "PRIVATE KEY" not in output


async def test_a_second_issue_is_refused_with_its_exit_code_and_a_way_out(cert, tmp_path):
    await cert("issue", MAC, "--out", tmp_path / "one")
    refused, _, errors = await cert("issue", MAC, "--out", tmp_path / "two")
    replaced, _, _ = await cert("issue", MAC, "--out", tmp_path / "two", "--replace")

    assert refused == 5
    assert "replace" in errors
    assert replaced == 0


async def test_renew_needs_the_old_certificate_and_no_token(cert, connection, tmp_path):
    await cert("issue", MAC, "--out", tmp_path / "device")
    before = (tmp_path / "device" / "client.key").read_text()
    await connection.execute("UPDATE certificates SET issued_at = issued_at - interval '2 minutes'")
    status, _, errors = await cert("renew", tmp_path / "device", IOTISTIC_API_TOKEN="")
    context = ssl.create_default_context()
    context.load_cert_chain(tmp_path / "device" / "client.crt", tmp_path / "device" / "client.key")

    assert status == 0, errors
    assert (tmp_path / "device" / "client.key").read_text() != before


async def test_list_and_revoke_tell_the_same_story(cert, tmp_path):
    await cert("issue", MAC, "--out", tmp_path / "device")
    _, table, _ = await cert("list")
    status, revoked, _ = await cert("revoke", "AABBCCDDEE01", "--reason", "key-compromise", "--json")
    _, listed, _ = await cert("list", "--mac", MAC, "--json")

    assert MAC in table
    assert status == 0
    assert json.loads(revoked)["revoked"][0]["revoked_reason"] == "key_compromise"
    assert json.loads(listed)[0]["revoked_at"] is not None


async def test_tokens_are_made_used_listed_and_revoked(cert, tmp_path):
    _, made, errors = await cert("token", "create", "--label", "line 3", "--max-uses", "1", "--json")
    token = json.loads(made)
    enrolled, _, _ = await cert("issue", MAC, "--out", tmp_path / "d", IOTISTIC_API_TOKEN=token["token"])
    _, listed, _ = await cert("token", "list", "--json")
    await cert("token", "revoke", token["id"])
    refused, _, _ = await cert(
        "issue", "aabbccddee02", "--out", tmp_path / "e", IOTISTIC_API_TOKEN=token["token"]
    )

    assert enrolled == 0, errors
    assert [(row["id"], row["uses"]) for row in json.loads(listed)] == [(token["id"], 1)]
    assert refused == 3


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("issue", "nonsense"), 2),
        (("revoke",), 2),
        (("revoke", MAC, "--serial", "ab"), 2),
        (("revoke", MAC), 4),
        (("renew", "nowhere"), 2),
        (("token", "revoke", "../health"), 4),
    ],
)
async def test_mistakes_have_their_exit_codes(cert, arguments, status):
    returned, _, errors = await cert(*arguments, "--json")

    assert returned == status
    assert json.loads(errors)["error"]["message"]


async def test_a_server_that_another_authority_certified_is_not_talked_to(cert, tmp_path):
    status, _, errors = await cert(
        "list", IOTISTIC_CA_FILE=ssl.get_default_verify_paths().cafile or "/nowhere"
    )

    assert status in {2, 6}
    assert "error:" in errors


async def test_without_an_authority_the_way_out_is_said(cert):
    status, _, errors = await cert("list", IOTISTIC_PKI_URL="https://127.0.0.1:1")

    assert status == 6
    assert "iotistic status" in errors
