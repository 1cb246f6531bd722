"""Credentials of registries from a file: how they are written, and that the file is followed."""

import base64
import json

import pytest
from structlog.testing import capture_logs

from iotistic.agent.engines.docker.keyring import FileKeyring, RegistrySettings, keyring_of, read_auths
from iotistic.agent.engines.docker.pulling import Credentials

SECRET = "hunter2-of-the-test"


def auths(**hosts):
    return json.dumps({"auths": hosts}).encode()


def basic(user, password=SECRET):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "registries.json"
    write(path, auths(**{"one.example:5000": {"auth": basic("device")}}))
    return path


def write(path, content, mode=0o600):
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.chmod(mode)
    beside.replace(path)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("one.example", "one.example"),
        ("one.example:5000", "one.example:5000"),
        ("https://one.example/v2/", "one.example"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_a_registry_is_known_however_its_host_is_written(name, host):
    assert list(read_auths(auths(**{name: {"auth": basic("device")}}))) == [host]


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        ({"auth": basic("device")}, Credentials("device", SECRET)),
        ({"auth": basic("device", "with:colons:")}, Credentials("device", "with:colons:")),
        ({"username": "device", "password": SECRET}, Credentials("device", SECRET)),
        ({"auth": basic("<token>")}, Credentials("", "", SECRET)),
        ({"auth": basic("device", ""), "identitytoken": SECRET}, Credentials("", "", SECRET)),
    ],
)
def test_credentials_are_read_as_docker_writes_them(entry, known):
    assert read_auths(auths(**{"one.example": entry})) == {"one.example": known}


@pytest.mark.parametrize(
    "entry", [{}, {"auth": ""}, {"email": "a@b"}, {"username": "device"}, {"username": 1}]
)
def test_an_entry_without_credentials_is_none(entry):
    assert read_auths(auths(**{"one.example": entry})) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"auths": []}', b'{"auths": {"a": 1}}', b'{"auths": {"a": {"auth": "\xc3"}}}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_a_broken_file_is_refused_and_what_was_known_stays(file, content):
    keyring = FileKeyring(file)
    keyring("one.example:5000")
    write(file, content)

    with capture_logs() as logs:
        assert keyring("one.example:5000") == Credentials("device", SECRET)
    assert [entry["event"] for entry in logs] == ["registries.refused"]


def test_a_changed_file_is_taken_up_and_a_removed_one_forgotten(file):
    keyring = FileKeyring(file)
    assert keyring("two.example") is None
    write(file, auths(**{"two.example": {"auth": basic("other")}}))
    assert keyring("two.example") == Credentials("other", SECRET)
    assert keyring("one.example:5000") is None
    file.unlink()

    assert keyring("two.example") is None


def test_a_file_that_did_not_change_is_read_once(file):
    keyring = FileKeyring(file)
    with capture_logs() as logs:
        for _ in range(3):
            keyring("one.example:5000")

    assert [entry["event"] for entry in logs] == ["registries.read"]


def test_a_file_that_others_may_read_is_complained_of(file):
    file.chmod(0o644)
    with capture_logs() as logs:
        FileKeyring(file)("one.example:5000")

    assert logs[0]["event"] == "registries.open"


def test_what_stands_in_the_file_is_never_logged_or_shown(file):
    keyring = FileKeyring(file)
    with capture_logs() as logs:
        found = keyring("one.example:5000")
        write(file, b'{"auths": "' + SECRET.encode() + b'"')
        keyring("one.example:5000")

    assert SECRET not in f"{logs} {found!r}"
    assert basic("device") not in str(logs)


def test_the_file_is_in_the_agents_folder_unless_it_is_said(tmp_path, file):
    assert keyring_of(RegistrySettings(registry_auth_file=file), tmp_path)("one.example:5000") is not None
    assert keyring_of(RegistrySettings(), file.parent)("one.example:5000") is not None
    assert keyring_of(RegistrySettings(), tmp_path / "elsewhere")("one.example:5000") is None


def test_a_file_that_cannot_be_read_is_said_so(file):
    file.unlink()
    file.mkdir(mode=0o700)
    with capture_logs() as logs:
        assert FileKeyring(file)("one.example:5000") is None
    assert "registries.refused" in [entry["event"] for entry in logs]
