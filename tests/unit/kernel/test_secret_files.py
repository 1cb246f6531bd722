"""Secrets in files: made once, the same for all who ask, however many ask first."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor

from iotistic.kernel.files import secret_file

ASKERS = 16


def test_all_who_make_a_secret_at_the_same_moment_get_the_same(tmp_path):
    path = tmp_path / "new" / "secret"
    together = threading.Barrier(ASKERS)

    def ask(_number):
        together.wait(10)
        return secret_file(path, prefix="iot_")

    with ThreadPoolExecutor(ASKERS) as pool:
        given = set(pool.map(ask, range(ASKERS)))

    assert given == {path.read_text().strip()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["secret"]


def test_a_secret_that_is_there_is_left_as_it_is(tmp_path):
    path = tmp_path / "secret"
    path.write_text("kept\n")

    assert secret_file(path, prefix="iot_") == "kept"
    assert path.read_text() == "kept\n"
