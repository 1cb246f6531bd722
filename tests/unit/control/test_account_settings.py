"""Nothing about accounts has a default that somebody else knows."""

import pytest

from iotistic.control.accounts.settings import AccountSettings
from iotistic.kernel.settings import SettingsInvalid, load_settings


@pytest.mark.parametrize("secret", [None, "", "secret", "x" * 31])
def test_without_a_long_signing_secret_nothing_starts(monkeypatch, secret):
    monkeypatch.delenv("JWT_SECRET", raising=False)
    monkeypatch.delenv("JWT_SECRET_FILE", raising=False)

    with pytest.raises(SettingsInvalid, match="JWT_SECRET"):
        load_settings(AccountSettings, jwt_secret=secret)


def test_the_signing_secret_comes_from_a_file_and_does_not_show(monkeypatch, tmp_path):
    file = tmp_path / "jwt-secret"
    file.write_text("s" * 43 + "\n")
    monkeypatch.setenv("JWT_SECRET_FILE", str(file))

    settings = load_settings(AccountSettings)

    assert settings.jwt_secret.get_secret_value() == "s" * 43
    assert "s" * 43 not in repr(settings)
