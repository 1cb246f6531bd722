"""How a process reads its settings."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from iotistic.kernel.settings import Settings, SettingsInvalid, load_settings


class Link(Settings):
    """One group."""

    link_host: str
    """Where it is."""
    link_port: int = Field(default=1883, ge=1, le=65_535)
    link_password: SecretStr = SecretStr("")


class Whole(Link):
    """A process' class."""

    folder: Path | None = None
    is_quick: bool = False


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("LINK_HOST", "broker.example")
    return monkeypatch


def test_a_variable_is_the_fields_name_in_capitals_and_read_as_its_type(environment):
    environment.setenv("LINK_PORT", "8883")
    environment.setenv("IS_QUICK", "yes")
    environment.setenv("FOLDER", "/srv/data")

    found = load_settings(Whole)

    assert (found.link_host, found.link_port, found.is_quick) == ("broker.example", 8883, True)
    assert found.folder == Path("/srv/data")
    assert found.model_fields_set == {"link_host", "link_port", "is_quick", "folder"}


def test_a_variable_may_stand_in_a_file_and_the_variable_itself_comes_first(environment, tmp_path):
    (tmp_path / "password").write_text("from the file\n")
    environment.setenv("LINK_PASSWORD_FILE", str(tmp_path / "password"))

    assert load_settings(Whole).link_password.get_secret_value() == "from the file"
    environment.setenv("LINK_PASSWORD", "said")
    assert load_settings(Whole).link_password.get_secret_value() == "said"


def test_an_empty_variable_counts_as_not_set(environment):
    environment.setenv("LINK_PORT", "")
    environment.setenv("FOLDER", "")

    assert load_settings(Whole).model_fields_set == {"link_host"}


def test_an_argument_comes_before_the_environment_unless_it_is_none(environment, tmp_path):
    environment.setenv("LINK_PORT", "8883")
    environment.setenv("FOLDER_FILE", str(tmp_path / "not there"))

    found = load_settings(Whole, link_port=1, link_host=None, folder=tmp_path)

    assert (found.link_host, found.link_port, found.folder) == ("broker.example", 1, tmp_path)


def test_every_fault_is_told_at_once_and_no_value(environment):
    environment.delenv("LINK_HOST")
    environment.setenv("LINK_PORT", "70000")
    environment.setenv("IS_QUICK", "s3cret")

    with pytest.raises(SettingsInvalid) as caught:
        load_settings(Whole)

    assert caught.value.as_dict()["faults"].keys() == {"LINK_HOST", "LINK_PORT", "IS_QUICK"}
    assert "s3cret" not in str(caught.value)
    assert "70000" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(environment, tmp_path):
    environment.setenv("LINK_PASSWORD_FILE", str(tmp_path / "not there"))

    with pytest.raises(SettingsInvalid, match="not there"):
        load_settings(Whole)


def test_settings_do_not_change_and_take_nothing_that_they_do_not_know():
    found = Whole()

    with pytest.raises(ValidationError):
        found.link_port = 2
    with pytest.raises(ValidationError):
        Whole(nonsense=1)
