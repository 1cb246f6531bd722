"""Which readings the ingest path believes, as settings say it."""

import pytest

from iotistic.telemetry.transports.settings import IngestSettings

DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("past_hours", "raw_days", "days"),
    [(2160, 90, 90), (2160, 7, 7), (48, 7, 2), (2160, 0, 90), (9600, 0, 400)],
)
def test_a_reading_that_retention_would_drop_at_once_is_too_old(past_hours, raw_days, days):
    settings = IngestSettings(max_past_hours=past_hours, retention_raw_days=raw_days)

    assert settings.window.past_us == days * DAY_US
