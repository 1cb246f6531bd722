"""deploy/install.sh below a folder of its own: what it makes, that it can be repeated, and that it goes again.

The program that it installs here is a wheel with two commands that do nothing; the real one takes a network.
"""

import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "install.sh"
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
FEDORA = 'PRETTY_NAME="Fedora Linux 42"\nID=fedora\n'
UBUNTU = 'PRETTY_NAME="Ubuntu 24.04 LTS"\nID=ubuntu\nID_LIKE=debian\n'
RASPBIAN = 'PRETTY_NAME="Raspbian GNU/Linux 12 (bookworm)"\nID=raspbian\nID_LIKE=debian\n'
PROGRAM = """
import sys
def main():
    print("{version}", *sys.argv[1:])
"""
METADATA = "Metadata-Version: 2.1\nName: iotistic\nVersion: {version}\nProvides-Extra: agent\n"
COMMANDS = "[console_scripts]\niotistic = iotistic_double:main\niotctl = iotistic_double:main\n"


def wheel(folder, version, program=PROGRAM):
    path = folder / f"iotistic-{version}-py3-none-any.whl"
    info = f"iotistic-{version}.dist-info"
    files = {
        "iotistic_double.py": program.format(version=version),
        f"{info}/METADATA": METADATA.format(version=version),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": COMMANDS,
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(name, content)
    return path


class Place:
    """A device's root below a folder."""

    def __init__(self, folder, release=DEBIAN):
        self.root, self.bin = folder / "root", folder / "bin"
        for made in (self.root / "etc", self.bin):
            made.mkdir(parents=True)
        (self.root / "etc/os-release").write_text(release)

    def pretend(self, program, says):
        path = self.bin / program
        path.write_text(f"#!/bin/sh\necho {says}\n")
        path.chmod(0o755)

    def install(self, *words, status=0):
        done = subprocess.run(
            ["sh", str(SCRIPT), "--root", str(self.root), *map(str, words)],
            env=os.environ | {"PATH": f"{self.bin}:{os.environ['PATH']}", "PIP_NO_INDEX": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def files(self):
        """Return all files and links with their content, without what Python writes by the way."""
        found = {}
        for path in self.root.rglob("*"):
            if path.is_symlink():
                found[str(path.relative_to(self.root))] = str(path.readlink())
            elif path.is_file() and "__pycache__" not in path.parts:
                found[str(path.relative_to(self.root))] = path.stat().st_mtime_ns
        return found

    def run(self, *words):
        command = [str(self.root / "usr/local/bin" / words[0]), *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An installed agent that tests copy nothing from and change nothing of."""
    folder = tmp_path_factory.mktemp("made")
    place = Place(folder)
    place.told = place.install("--source", wheel(folder, "1.0"))
    place.wheel = folder / "iotistic-1.0-py3-none-any.whl"
    return place


def test_the_programs_are_there_and_run(made):
    assert made.run("iotistic", "version") == "1.0 version"
    assert made.run("iotctl", "status") == "1.0 status"
    assert "iotctl provision" in made.told


def test_the_unit_and_the_settings_are_those_of_the_repository(made):
    unit = made.root / "etc/systemd/system/iotistic-agent.service"
    settings = made.root / "etc/iotistic-agent/agent.env"

    assert unit.read_text() == (DEPLOY / "agent/iotistic-agent.service").read_text()
    ours = (DEPLOY / "agent/agent.env").read_text().splitlines()
    assert set(settings.read_text().splitlines()) ^ set(ours) <= {"DEVICE_TYPE=standalone", "DEVICE_TYPE=x86"}
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600


def test_a_second_time_changes_nothing(made):
    before = made.files()
    told = made.install("--source", made.wheel)

    assert made.files() == before
    assert "nothing was to be done" in told


def test_it_is_updated_kept_and_removed_without_a_trace(place, tmp_path):
    clean = place.files()
    place.install("--source", wheel(tmp_path, "1.0"))
    settings = place.root / "etc/iotistic-agent/agent.env"
    settings.write_text("LOG_LEVEL=debug\n")
    data = place.root / "var/lib/iotistic-agent/agent/agent.sqlite"
    data.parent.mkdir(parents=True)
    data.write_text("all that it knows")
    broken = wheel(tmp_path, "1.1", "def main():\n    raise SystemExit('{version} is broken')\n")
    assert "could not install" in place.install("--source", broken, status=1)
    assert place.run("iotistic") == "1.0"
    place.install("--source", wheel(tmp_path, "1.2"))
    assert place.run("iotistic") == "1.2"
    assert settings.read_text() == "LOG_LEVEL=debug\n"
    told = place.install("--uninstall")
    left = set(place.files()) - set(clean)
    assert left == {"etc/iotistic-agent/agent.env", "var/lib/iotistic-agent/agent/agent.sqlite"}
    assert "kept:" in told
    place.install("--purge")

    assert place.files() == clean
    assert "nothing of the agent is here" in place.install("--uninstall")


def test_a_folder_of_wheels_needs_no_network_and_links_of_others_are_left_alone(place, tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("1.0", "1.1"):
        wheel(folder, version)
    theirs = place.root / "usr/local/bin/iotctl"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    told = place.install("--source", folder, "--version", "1.0")
    assert place.run("iotistic") == "1.0"
    place.install("--purge")

    assert "iotctl is not ours" in told
    assert theirs.read_text() == "theirs"


def test_a_dry_run_changes_nothing(place, tmp_path):
    before = place.files()
    told = place.install("--source", wheel(tmp_path, "1.0"), "--dry-run")

    assert place.files() == before
    assert "would install the agent from" in told
    assert "would write" in told


@pytest.mark.parametrize(
    ("release", "machine", "bits", "model", "told"),
    [
        (DEBIAN, "x86_64", "64", "", "Debian GNU/Linux 12 (bookworm) on amd64 (x86), with systemd"),
        (UBUNTU, "aarch64", "64", "Raspberry Pi 4 Model B", "Ubuntu 24.04 LTS on arm64 (pi4), with systemd"),
        (RASPBIAN, "aarch64", "32", "Raspberry Pi 4 Model B", "on armv7l (pi4), with systemd"),
        (RASPBIAN, "armv7l", "32", "Raspberry Pi 3 Model B", "on armv7l (pi3), with systemd"),
        (FEDORA, "aarch64", "64", "Some other board", "Fedora Linux 42 on arm64 (standalone), with systemd"),
    ],
)
def test_it_knows_the_device(tmp_path, release, machine, bits, model, told):
    place = Place(tmp_path, release)
    place.pretend("uname", machine)
    place.pretend("getconf", bits)
    tree = place.root / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(model.encode() + b"\0")

    assert told in place.install("--source", wheel(tmp_path, "1.0"), "--dry-run")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--sorce", "x"], 2, "there is no option --sorce"),
        (["--source"], 2, "--source wants a value"),
        (["--method", "snap"], 2, "--method is systemd, docker or auto"),
        (["--source", "/not/there.whl"], 1, "/not/there.whl is not there"),
        (["--source", "http://index.example"], 1, "not encrypted"),
        ([], 1, "no wheel lies beside this script"),
        (["--method", "docker"], 1, "--root has no meaning with Docker"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(place, words, status, told):
    assert told in place.install(*words, status=status)


@pytest.mark.parametrize("machine", ["armv6l", "riscv64"])
def test_a_device_that_it_is_not_made_for_is_refused(place, machine):
    place.pretend("uname", machine)

    assert f"a {machine} processor" in place.install("--dry-run", status=1)


def test_with_docker_it_says_how_the_container_would_run(tmp_path):
    command = ["sh", str(SCRIPT), "--dry-run", "--method", "docker", "--image", "agent:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "would run the container iotistic-agent of agent:1" in done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    text = (DEPLOY / "agent/iotistic-agent.service").read_text()
    unit = tmp_path / "iotistic-agent.service"
    unit.write_text(text.replace("/opt/iotistic-agent/current/bin/iotistic", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(
    shutil.which("shellcheck") is None and "CI" not in os.environ, reason="this machine has no shellcheck"
)
def test_shellcheck_finds_nothing_wrong_with_the_script():
    subprocess.run(["shellcheck", str(SCRIPT)], check=True, timeout=60)
