"""The lane of a test's own over its own broker and a fresh database."""

import pytest
from catchup_builders import DatabaseGate, Devices, Process, environment


@pytest.fixture
async def gate(database):
    """The way from the processes to the database."""
    way = DatabaseGate(database)
    await way.open()
    yield way
    await way.close()


@pytest.fixture
def surroundings(own_broker, database, gate, tmp_path):
    return environment(own_broker, database, gate, tmp_path)


@pytest.fixture
async def devices(own_broker):
    """Start devices that keep so many messages each."""
    made = []

    async def start(macs, each):
        made.append(Devices(own_broker, macs, each))
        made[-1].client.start()
        return made[-1]

    yield start
    for one in made:
        await one.stop()


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
        process.tell()


@pytest.fixture
def live(processes):
    return processes("ingest", LANE="live")


@pytest.fixture
def backlog(processes):
    return processes("ingest", LANE="backlog")


@pytest.fixture
def maintenance(processes):
    return processes("maintenance")
