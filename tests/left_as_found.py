"""A test that configures the process for all that come after it fails by itself; a plugin that pyproject.toml names."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_is_left_as_found():
    """Loggers that were used meanwhile keep their configuration for good: later tests would hear nothing of them."""
    yield
    if structlog.get_config()["cache_logger_on_first_use"]:
        structlog.reset_defaults()
        pytest.fail("logging was left configured")
