from pathlib import Path

import pytest
from pydantic import SecretStr

from iotistic.kernel.postgres.dsn import Dsn, DsnInvalid
from iotistic.kernel.postgres.pool import DatabaseNotConfigured, DatabaseSettings
from iotistic.kernel.settings import SettingsInvalid, load_settings


@pytest.mark.parametrize(
    ("given", "url", "password"),
    [
        ("postgresql://u@h:1/d", "postgresql://u@h:1/d", None),
        ("postgres://u:p%40ss@h/d?sslmode=require", "postgres://u@h/d?sslmode=require", "p@ss"),
        ("postgresql://u:pw@[::1]:5432/d", "postgresql://u@[::1]:5432/d", "pw"),
        ("postgresql:///d", "postgresql:///d", None),
    ],
)
def test_a_password_in_an_address_is_taken_out_of_what_is_shown(given, url, password):
    dsn = Dsn.parse(given)

    assert str(dsn) == dsn.url == url
    assert dsn.options()["password"] == password
    assert "pw" not in repr(dsn)


def test_a_password_given_apart_wins_over_the_one_in_the_address():
    assert Dsn.parse("postgresql://u:old@h/d", SecretStr("new")).options()["password"] == "new"


@pytest.mark.parametrize(
    "url", ["", "mysql://u@h/d", "localhost:5432", "postgresql://h:notaport/d", "postgresql://[::1/d"]
)
def test_what_is_no_address_of_a_postgresql_database_is_refused(url):
    with pytest.raises(DsnInvalid):
        Dsn.parse(url)


def test_another_database_of_the_same_server_keeps_everything_else():
    dsn = Dsn.parse("postgresql://u@h:1/first?sslmode=require", SecretStr("pw")).with_database("odd name")

    assert dsn.url == "postgresql://u@h:1/odd%20name?sslmode=require"
    assert (dsn.database, dsn.options()["password"]) == ("odd name", "pw")


def test_the_same_database_over_a_socket_keeps_user_and_password():
    dsn = Dsn.parse("postgresql://u%20x@h:5433/d", SecretStr("pw")).over_socket(Path("/srv/a folder/socket"))

    assert dsn.url == "postgresql://u%20x@/d?host=%2Fsrv%2Fa%20folder%2Fsocket&port=5433"
    assert Dsn.parse(dsn.url, dsn.password) == dsn
    assert dsn.with_database("e").url.startswith("postgresql://u%20x@/e?host=")
    assert dsn.options()["password"] == "pw"


def test_settings_read_the_password_from_a_file_and_never_print_it(monkeypatch, tmp_path):
    (tmp_path / "password").write_text("very-secret\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@h/d")
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(tmp_path / "password"))
    settings = load_settings(DatabaseSettings)

    assert settings.dsn.options() == {"dsn": "postgresql://u@h/d", "password": "very-secret"}
    assert "very-secret" not in repr(settings)


def test_a_wrong_address_is_a_fault_of_the_setting_and_does_not_show_its_password(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "mysql://u:very-secret@h/d")

    with pytest.raises(SettingsInvalid, match="DATABASE_URL") as caught:
        load_settings(DatabaseSettings)
    assert "very-secret" not in str(caught.value)


def test_without_an_address_the_settings_say_what_to_set(monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)

    with pytest.raises(DatabaseNotConfigured):
        _ = load_settings(DatabaseSettings).dsn
