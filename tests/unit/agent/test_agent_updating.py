"""Updates of the agent: when, whom it believes, which version runs; without a process."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from iotistic.agent.updating.deciding import due_at, is_here, read_window
from iotistic.agent.updating.errors import ReleaseInvalid, ReleaseUntrusted, UpdateNotSetUp, UpdateOlder
from iotistic.agent.updating.launching import choose
from iotistic.agent.updating.release import describe_release, read_release
from iotistic.agent.updating.signing import sign_release
from iotistic.agent.updating.standing import Chosen, Standing, load, save
from iotistic.contracts.agent_updates import UpdateOrder

NOON = datetime(2026, 5, 1, 12, 30, 20, tzinfo=UTC).timestamp()
HOUR = 3600


def pems():
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    ("window", "after_s"),
    [
        ("", 0),
        ("12:00-13:00", 0),
        ("13:00-12:31", 0),
        ("12:30-12:31", 0),
        ("12:00-12:30", 23.5 * HOUR - 20),
        ("01:00-04:30", 12.5 * HOUR - 20),
        ("23:00-01:00", 10.5 * HOUR - 20),
    ],
)
def test_an_update_waits_for_the_devices_own_hours_unless_it_is_forced(window, after_s):
    window = read_window(window)

    assert due_at(UpdateOrder("1.2.3"), window, NOON) == NOON + after_s
    assert due_at(UpdateOrder("1.2.3", is_forced=True), window, NOON) == NOON


def test_an_update_waits_for_the_time_that_was_asked_for_and_for_the_window_after_it():
    order = UpdateOrder("1.2.3", not_before=NOON + 2 * HOUR)

    assert due_at(order, None, NOON) == NOON + 2 * HOUR
    assert due_at(order, read_window("12:00-13:00"), NOON) == NOON + 23.5 * HOUR - 20


@pytest.mark.parametrize("text", ["24:00-01:00", "01:00", "1:00-2:00", "01:00-01:00", "01:60-02:00", "x"])
def test_hours_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"begins when it ends|two times of the day"):
        read_window(text)


def test_lesson_17_a_version_that_runs_is_not_installed_again_and_an_older_one_only_by_force():
    """No version was checked: the retained command ran the update at each restart."""
    assert is_here(UpdateOrder("1.4.2"), "1.4.2", "1.4.2")
    assert not is_here(UpdateOrder("1.4.2"), "1.4.2", "1.4.1")
    assert not is_here(UpdateOrder("1.4.2", is_forced=True), "1.4.2", "1.10.0")
    with pytest.raises(UpdateOlder):
        is_here(UpdateOrder("1.4.2"), "1.4.2", "1.10.0")


def release(folder, version="1.4.2"):
    (folder / f"iotistic-{version}-py3-none-any.whl").write_bytes(b"wheel")
    return describe_release(folder, version)


def test_a_release_is_believed_by_its_signature_alone(tmp_path):
    (private, public), (other, _) = pems(), pems()
    description = release(tmp_path)
    signature = sign_release(description, private)

    assert read_release("1.4.2", description, signature, public).version == "1.4.2"
    assert read_release("latest", description, signature, public).version == "1.4.2"
    for wanted, described, signed in (
        ("1.4.2", description + b" ", signature),
        ("1.4.2", description, sign_release(description, other)),
        ("1.4.2", description, b""),
        ("1.4.2", description, b"\xff\xff not base64"),
        ("1.5.0", description, signature),
    ):
        with pytest.raises(ReleaseUntrusted):
            read_release(wanted, described, signed, public)
    for key in ("", "no key", private.decode()):
        with pytest.raises(UpdateNotSetUp):
            read_release("1.4.2", description, signature, key)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1.4"},
        {"files": []},
        {"files": [{"name": "../x.whl", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "x.whl", "sha256": "0", "size": 1}]},
        {"files": [{"name": "x.whl", "sha256": "0" * 64, "size": -1}]},
        {"files": "x"},
    ],
)
def test_a_signed_description_with_faults_is_refused_too(tmp_path, changes):
    private, public = pems()
    description = json.dumps({**json.loads(release(tmp_path)), **changes}).encode()

    with pytest.raises(ReleaseInvalid):
        read_release("latest", description, sign_release(description, private), public)


def test_each_kind_of_device_takes_its_own_wheels(tmp_path):
    private, public = pems()
    for name in (
        "cffi-1.17.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "cffi-1.17.1-cp311-cp311-manylinux_2_17_aarch64.whl",
        "cffi-1.17.1-cp312-cp312-manylinux_2_17_x86_64.whl",
        "cffi-1.17.1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "cryptography-45.0.0-cp37-abi3-manylinux_2_28_x86_64.whl",
    ):
        (tmp_path / name).write_bytes(name.encode())
    description = release(tmp_path)
    found = read_release("1.4.2", description, sign_release(description, private), public)

    assert [one.name.split("-")[0] for one in found.fitting("x86_64", (3, 11))] == [
        "cffi",
        "cryptography",
        "iotistic",
    ]
    assert [one.name.split("-")[0] for one in found.fitting("armv7l", (3, 11))] == ["iotistic"]


def chosen(**changes):
    return Standing(Chosen("1.5.0", "1.4.0", "mark", "id", **changes))


def test_a_version_on_trial_is_started_twice_and_then_the_one_before_runs_again():
    standing, versions = chosen(before="1.4.9"), []
    for _ in range(4):
        standing, version = choose(standing, "1.4.0", NOON, is_there=True)
        versions.append(version)
    told = standing.untold[0]

    assert versions == ["1.5.0", "1.5.0", "1.4.9", "1.4.9"]
    assert (told["type"], told["code"], told["update_id"]) == ("update_failed", "update.rolled_back", "id")
    assert "1.4.9 runs again" in told["message"]
    assert standing.done["mark"] == told


@pytest.mark.parametrize(
    ("standing", "installed", "is_there"),
    [
        (Standing(), "1.4.0", False),
        (chosen(is_trial=False), "1.6.0", True),  # somebody installed another one by hand
        (chosen(is_trial=False), "1.4.0", False),  # its folder is gone
        (chosen(before="1.4.9"), "1.4.0", False),
    ],
)
def test_otherwise_the_installed_version_runs(standing, installed, is_there):
    after, version = choose(standing, installed, NOON, is_there=is_there)

    assert (version, after.chosen) == ("", None)


def test_what_is_kept_is_read_again_and_garbage_is_nothing(tmp_path):
    standing = replace(chosen(starts=1), waiting={"version": "1.6.0"}).ended("m", {"type": "x"})
    save(tmp_path, standing)
    kept = load(tmp_path)
    found = []
    for garbage in (b"", b"\xff", b"[]", b'{"chosen": 7}', b'{"chosen": {"x": 1}}', b'{"done": 7}'):
        (tmp_path / "standing.json").write_bytes(garbage)
        found.append(load(tmp_path))

    assert kept == standing
    assert set(map(str, found)) == {str(Standing())}
