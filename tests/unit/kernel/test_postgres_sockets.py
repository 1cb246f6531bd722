"""The folder of the embedded server's socket: empty, closed to others, and left out where none can be."""

import pytest

from iotistic.kernel.postgres import sockets


def test_what_a_killed_server_left_is_gone_and_the_folder_is_closed_to_others(tmp_path):
    made = sockets.prepare(tmp_path, None)
    (made / ".s.PGSQL.5433").touch()
    (made / ".s.PGSQL.5433.lock").write_text("1")
    made.chmod(0o777)

    assert sockets.prepare(tmp_path, None) == made
    assert list(made.iterdir()) == []
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_link_in_its_place_is_removed_and_what_it_points_to_is_not_touched(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "elsewhere" / "kept").write_text("of somebody else")
    (tmp_path / "socket").symlink_to(tmp_path / "elsewhere")

    made = sockets.prepare(tmp_path, None)

    assert not made.is_symlink()
    assert (tmp_path / "elsewhere" / "kept").read_text() == "of somebody else"
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["n" * 100, "it's", "a,b", 'say "x"'])
def test_where_no_socket_can_be_there_is_none(tmp_path, name):
    (tmp_path / name).mkdir()

    assert sockets.prepare(tmp_path / name, None) is None
    assert list((tmp_path / name).iterdir()) == []
