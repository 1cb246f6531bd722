"""The ring, and those who follow it."""

import asyncio
from contextlib import aclosing

from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType
from iotistic.agent.logs.hub import LogHub


def entry(number=0, service="web", at=1000.0, text=""):
    return LogEntry(
        id=f"e{number}",
        message=text or f"line {number}",
        timestamp=int(at * 1000),
        level=Level.INFO,
        source=Source(SourceType.CONTAINER, service),
        service_id="3",
        service_name=service,
        container_id="c1",
    )


def hub(**bounds):
    return LogHub(lambda: 1000.0, **bounds)


def ids(entries):
    return [one.id for one in entries]


def test_the_last_lines_are_kept_in_their_order():
    ring = hub(most=3)
    for number in range(5):
        ring.add(entry(number))

    assert ids(ring.recent(10)) == ["e2", "e3", "e4"]
    assert ids(ring.recent(2)) == ["e3", "e4"]
    assert ring.recent(0) == []


def test_a_service_is_asked_for_by_name_or_id():
    ring = hub()
    ring.add(entry(1, "web"))
    ring.add(entry(2, "db"))

    assert ids(ring.recent(5, "db")) == ["e2"]
    assert ids(ring.recent(5, "3")) == ["e1", "e2"]
    assert ring.recent(5, "nobody") == []


def test_lines_that_are_too_old_are_forgotten_without_new_ones():
    times = [1000.0]
    ring = LogHub(lambda: times[0], most_age_s=60)
    ring.add(entry(1, at=1000.0))
    times[0] = 1061.0

    assert ring.recent(5) == []
    assert ring.held_bytes == 0


@given(st.lists(st.integers(0, 3000), max_size=100))
def test_the_ring_never_holds_more_bytes_than_it_may(sizes):
    ring = hub(most_bytes=10_000)
    for number, size in enumerate(sizes):
        ring.add(entry(number, text="x" * size))
        assert ring.held_bytes <= 10_000
    assert len(ring.recent(1)) == min(len(sizes), 1)


async def test_followers_get_what_was_and_what_comes_without_a_gap():
    ring = hub()
    ring.add(entry(0, "db"))
    ring.add(entry(1))
    async with aclosing(ring.follow("web", recent=5)) as following:
        found = [await anext(following)]
        ring.add(entry(2))
        ring.add(entry(3, "db"))
        ring.add(entry(4))
        found += [await anext(following), await anext(following)]

    assert ids(found) == ["e1", "e2", "e4"]


async def test_a_follower_waits_for_a_line():
    ring = hub()
    async with aclosing(ring.follow()) as following:
        waiting = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        assert not waiting.done()
        ring.add(entry(7))
        assert (await waiting).id == "e7"


async def test_a_slow_follower_loses_the_oldest_and_is_told_how_many():
    ring = hub(most=10)
    async with aclosing(ring.follow(recent=1)) as slow:
        ring.add(entry(0))
        assert (await anext(slow)).id == "e0"
        for number in range(1, 1501):
            ring.add(entry(number))
        said, first = await anext(slow), await anext(slow)

    assert (said.message, said.is_system) == ("500 lines were not shown: they came too fast", True)
    assert first.id == "e501"
    assert ring.lost == 500


async def test_followers_that_left_cost_nothing():
    ring = hub()
    async with aclosing(ring.follow(recent=1)) as following:
        ring.add(entry(1))
        await anext(following)

    assert ring._followers == set()


def test_listeners_hear_every_line():
    ring, heard = hub(most=2), []
    ring.listen(heard.append)
    for number in range(5):
        ring.add(entry(number))

    assert ids(heard) == ["e0", "e1", "e2", "e3", "e4"]


def test_a_line_is_written_as_the_contract_says():
    assert entry(1).document() == {
        "id": "e1",
        "message": "line 1",
        "timestamp": 1_000_000,
        "level": "info",
        "source": {"type": "container", "name": "web"},
        "serviceId": 3,
        "serviceName": "web",
        "containerId": "c1",
        "isStdErr": False,
        "isSystem": False,
    }


def test_a_line_that_cannot_be_written_in_utf_8_is_written_all_the_same():
    assert b"a?b" in entry(text="a\udcffb").written()
