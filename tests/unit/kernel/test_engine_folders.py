import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from iotistic.kernel.engines import EngineFolderUnusable, engine_folder, may_enter, sweep
from iotistic.kernel.home import Home
from iotistic.kernel.process import Account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
ACCOUNT = Account("somebody", 4242, 4243)


@pytest.fixture
def place():
    """A folder that every account can walk to: pytest's own one is private."""
    with tempfile.TemporaryDirectory(prefix="iotistic-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def outside(place):
    return place / "var-lib-iotistic"


def made_home(path):
    home = Home(path)
    home.create()
    return home


def not_used_for(folder, days):
    """Let the folder outside look as if its home had last started some days ago."""
    then = time.time() - days * 86_400
    os.utime(folder / "used", (then, then))


@pytest.fixture
def private_home(place):
    (place / "private").mkdir(mode=0o700)
    return made_home(place / "private" / "home")


def test_an_ordinary_user_keeps_engines_in_the_home(tmp_path):
    home = made_home(tmp_path / "home")
    folder = engine_folder(home, "postgres", None)

    assert folder == home.engines / "postgres"
    assert folder.stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.needs_root
def test_a_home_of_ours_is_opened_for_walking_but_not_for_reading(place, outside):
    home = made_home(place / "home")
    home.path.chmod(0o700)
    folder = engine_folder(home, "postgres", ACCOUNT, outside=outside)

    assert folder == home.engines / "postgres"
    assert home.path.stat().st_mode & 0o777 == 0o711
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (ACCOUNT.uid, 0o700)
    assert not outside.exists()


@as_root
@pytest.mark.needs_root
def test_a_home_below_a_private_folder_gets_the_same_folder_outside_every_time(private_home, outside):
    first = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)

    assert first.is_relative_to(outside)
    assert engine_folder(private_home, "postgres", ACCOUNT, outside=outside) == first
    assert engine_folder(private_home, "mosquitto", ACCOUNT, outside=outside) == first.with_name("mosquitto")
    assert private_home.path.parent.stat().st_mode & 0o777 == 0o700
    assert all(may_enter(ACCOUNT, folder) for folder in first.parents if folder.is_relative_to(outside))


@as_root
@pytest.mark.needs_root
def test_data_outside_stays_where_it_is_when_the_home_becomes_reachable(private_home, outside):
    first = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)
    private_home.path.parent.chmod(0o755)

    assert engine_folder(private_home, "postgres", ACCOUNT, outside=outside) == first


@as_root
@pytest.mark.needs_root
def test_data_in_a_home_that_became_private_is_reported_instead_of_started_anew(place, outside):
    (place / "above").mkdir(mode=0o755)
    home = made_home(place / "above" / "home")
    (engine_folder(home, "postgres", ACCOUNT, outside=outside) / "data").mkdir()
    home.path.parent.chmod(0o700)

    with pytest.raises(EngineFolderUnusable, match="cannot reach it any more"):
        engine_folder(home, "postgres", ACCOUNT, outside=outside)


@as_root
@pytest.mark.needs_root
def test_a_folder_of_another_account_is_reported(place, outside):
    home = made_home(place / "home")
    engine_folder(home, "postgres", ACCOUNT, outside=outside)

    with pytest.raises(EngineFolderUnusable, match="belongs to user id 4242"):
        engine_folder(home, "postgres", Account("another", 4244, 4244), outside=outside)


@as_root
@pytest.mark.needs_root
def test_the_folder_of_a_removed_home_goes_at_a_start_of_anyone_a_week_later(place, private_home, outside):
    kept = engine_folder(made_home(private_home.path.with_name("kept")), "postgres", ACCOUNT, outside=outside)
    gone = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)
    shutil.rmtree(private_home.path)
    not_used_for(kept.parent, days=8)
    not_used_for(gone.parent, days=8)
    engine_folder(made_home(place / "elsewhere"), "postgres", ACCOUNT, outside=outside)

    assert (kept.exists(), gone.parent.exists()) == (True, False)


@as_root
@pytest.mark.needs_root
def test_a_home_that_is_moved_while_others_start_finds_its_data_within_a_week(place, private_home, outside):
    first = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)
    not_used_for(first.parent, days=6)
    moved = Home(private_home.path.rename(private_home.path.with_name("moved")))
    engine_folder(made_home(place / "elsewhere"), "postgres", ACCOUNT, outside=outside)

    assert engine_folder(moved, "postgres", ACCOUNT, outside=outside) == first
    assert time.time() - (first.parent / "used").stat().st_mtime < 60


@as_root
@pytest.mark.needs_root
def test_a_folder_from_before_stamps_begins_its_week_when_it_is_first_seen(private_home, outside):
    folder = engine_folder(private_home, "postgres", ACCOUNT, outside=outside).parent
    (folder / "used").unlink()
    shutil.rmtree(private_home.path)

    assert sweep(outside) == []
    not_used_for(folder, days=8)
    assert sweep(outside) == [folder]


@as_root
@pytest.mark.needs_root
def test_a_home_made_again_at_the_same_place_starts_over(private_home, outside):
    first = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)
    shutil.rmtree(private_home.path)
    private_home.create()
    second = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)

    assert second != first


@as_root
@pytest.mark.needs_root
def test_a_moved_home_keeps_its_folder_and_a_copied_one_gets_its_own(private_home, outside):
    first = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)
    moved = Home(private_home.path.rename(private_home.path.with_name("moved")))
    copied = Home(shutil.copytree(moved.path, moved.path.with_name("copied")))

    assert engine_folder(moved, "postgres", ACCOUNT, outside=outside) == first
    assert engine_folder(copied, "postgres", ACCOUNT, outside=outside) != first
    assert engine_folder(moved, "postgres", ACCOUNT, outside=outside) == first


@as_root
@pytest.mark.needs_root
def test_a_home_whose_file_system_is_not_mounted_keeps_its_data(private_home, outside):
    folder = engine_folder(private_home, "postgres", ACCOUNT, outside=outside)
    record = folder.parent / "home.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"device": 987654}))
    shutil.rmtree(private_home.path)
    not_used_for(folder.parent, days=8)

    assert sweep(outside) == []
    assert folder.exists()


@pytest.mark.parametrize("record", ["", "{", "[1]", "null", '{"home": 7}'])
def test_a_folder_with_a_record_that_says_nothing_is_left_alone(tmp_path, record):
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "home.json").write_text(record)

    assert sweep(tmp_path) == []
