from pathlib import Path

import pytest

from iotistic.kernel.home import Home, HomeSettings, HomeUnusable, default_home


def test_the_default_home_follows_xdg(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")

    assert default_home() == Path("/elsewhere/iotistic")


def test_an_unset_home_variable_falls_back_to_the_account_s_own_folder(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    assert default_home().is_absolute()


def test_a_user_without_a_home_folder_is_told_which_variable_to_set():
    settings = HomeSettings(iotistic_home=Path("~no-such-user/.local/state/iotistic"))

    with pytest.raises(HomeUnusable) as caught:
        _ = settings.home
    assert "IOTISTIC_HOME" in str(caught.value.hint)


def test_a_home_that_cannot_be_made_is_refused_with_its_path_and_the_reason(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(HomeUnusable, match=r"file.*Not a directory"):
        Home(tmp_path / "file" / "home").create()


def test_a_home_with_spaces_is_made_with_private_folders(tmp_path):
    home = Home(tmp_path / "a home with spaces")
    home.create()

    assert home.secrets.stat().st_mode & 0o777 == 0o700
    assert home.path.stat().st_mode & 0o777 == 0o711
