"""Generated examples may take their time: how long one takes says how busy the machine is; a plugin as the others."""

from hypothesis import HealthCheck, settings


def pytest_configure():
    """Build on the profile that Hypothesis chose (in CI one that repeats itself)."""
    settings.register_profile(
        "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("unhurried")
