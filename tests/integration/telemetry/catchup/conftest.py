"""The lane of a test's own over its own broker and a fresh database."""

import pytest
from catchup_builders import Process, environment


@pytest.fixture
def surroundings(own_broker, database, tmp_path):
    return environment(own_broker, database, tmp_path)


@pytest.fixture
async def processes(surroundings, tmp_path):
    """Make processes that end with the test."""
    made = []

    def make(*words, **settings):
        made.append(Process(surroundings, tmp_path, *words, **settings))
        return made[-1]

    yield make
    for process in made:
        await process.kill()


@pytest.fixture
def live(processes):
    return processes("ingest", LANE="live")


@pytest.fixture
def backlog(processes):
    return processes("ingest", LANE="backlog")


@pytest.fixture
def maintenance(processes):
    return processes("maintenance")
