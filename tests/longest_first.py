"""The order of the tests, for all of them; a plugin that pyproject.toml names."""

import pytest

_LONGEST_FIRST = (
    "acceptance/test_faults.py",
    "acceptance/test_pipeline_faults.py",
    "integration/telemetry/kafka/",
    "acceptance/",
)


@pytest.hookimpl(trylast=True)  # after the shuffle
def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that several processes end at about the same time."""
    items.sort(key=lambda item: next((n for n, part in enumerate(_LONGEST_FIRST) if part in item.nodeid), 9))
