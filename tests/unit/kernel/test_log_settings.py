import pytest

from iotistic.kernel.logging import LogLevel, LogSettings
from iotistic.kernel.settings import SettingsInvalid, load_settings


def test_a_level_that_there_is_not_is_refused_with_those_that_there_are(monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "loud")

    with pytest.raises(SettingsInvalid, match="'debug', 'info', 'warning' or 'error'"):
        load_settings(LogSettings)


def test_a_level_is_taken_in_capitals_too(monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "WARNING")

    assert load_settings(LogSettings).log_level is LogLevel.WARNING
