"""What people are told of where readings are."""

import pytest

from iotistic.entrypoints.doctor.check import State
from iotistic.entrypoints.doctor.running import store_finding
from iotistic.telemetry.storage.store import ReadingsStore, StoreKind


def store(kind=StoreKind.PLAIN, *, version="2.19.3", offered="2.19.3", compressed=False, moving=False):
    return ReadingsStore(kind, version, offered, compressed, moving)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (store(version=None, offered=None), "plain partitions"),
        (store(StoreKind.APACHE), "TimescaleDB 2.19.3 (Apache)"),
        (store(StoreKind.FULL), "TimescaleDB 2.19.3 (full)"),
        (store(StoreKind.FULL, compressed=True), "TimescaleDB 2.19.3 (full, compressed)"),
    ],
)
def test_each_store_has_its_name(found, name):
    assert str(found) == name
    assert store_finding(found).found.startswith(name)
    assert store_finding(found).state is State.OK


def test_the_doctor_names_the_way_to_an_extension_that_is_there():
    assert "iotistic db to-hypertable" in store_finding(store()).found


def test_the_doctor_warns_of_a_move_that_was_left_half_way():
    finding = store_finding(store(moving=True))

    assert finding.state is State.WARNING
    assert "--abandon" in finding.fix
