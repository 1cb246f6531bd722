"""The order of the tests, for all of them; a plugin that pyproject.toml names."""

import pytest

_ORDER = (
    "acceptance/test_faults.py",
    "integration/agent/",
    "acceptance/test_pipeline_faults.py",
    "integration/control/",
    "integration/telemetry/kafka/",
    "integration/",
    "acceptance/",
)


@pytest.hookimpl(trylast=True)  # after the shuffle
def pytest_collection_modifyitems(items):
    """Begin with what takes longest and end with what takes least, so that several processes end together.

    What fills every processor (kills under load, Kafka, whole installations) is kept apart: beside each other such
    tests would measure the machine.
    """
    items.sort(
        key=lambda item: next((n for n, part in enumerate(_ORDER) if part in item.nodeid), len(_ORDER))
    )
