"""What the agent remembers of steps that were cut short."""

from iotistic.agent.reconcile.record import Record
from iotistic.planning.steps import Fetch, RemoveImage


def test_an_image_counts_as_ours_from_the_moment_that_it_is_fetched():
    record = Record()
    record.begun(Fetch("web:1"))

    assert record.fetched == {
        "web:1"
    }  # whoever is killed now finds it on the disk, and nobody else removes it


def test_an_image_that_could_not_be_fetched_is_not_ours():
    record = Record()
    record.begun(Fetch("web:1"))
    record.failed(Fetch("web:1"), 1.0, "no such luck")

    assert record.fetched == set()


def test_an_image_that_was_removed_is_forgotten():
    record = Record(fetched={"web:1", "web:2"})
    record.done(RemoveImage("web:1"))

    assert record.fetched == {"web:2"}
