"""Many events of one matter are one incident."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.detection.events import Event, Method, Severity, Trend
from iotistic.detection.incidents import LONGEST_S, Incidents, News, fingerprint_of

AT = 1.8e9
EVENT = Event("cpu", AT, 90.0, Method.ZSCORE, Severity.INFO, 0.8, 4.0, 17.0, 23.0, 20.0, Trend.STEADY, 1.5)


def later(seconds, **changes):
    return replace(EVENT, at=AT + seconds, **changes)


def taken(*events, stream="cpu", **options):
    incidents = Incidents()
    return [incidents.take(stream, one, **options) for one in events]


def test_more_of_the_same_within_the_cool_down_is_counted():
    [(first, news), (again, more)] = taken(EVENT, later(299))

    assert (news, more) == (News.NEW, News.AGAIN)
    assert (again.id, again.count) == (first.id, 2)
    assert again.last_at - again.first_at == 299


def test_after_the_cool_down_it_is_another_one():
    [(first, _), (second, news)] = taken(EVENT, later(61), cool_down_s=60)

    assert news is News.NEW
    assert second.id != first.id
    assert second.fingerprint == first.fingerprint


def test_what_goes_on_is_told_again_after_an_hour():
    found = taken(*(later(60 * minute) for minute in range(130)))

    assert [news for _, news in found].count(News.NEW) == 3
    assert all(one.last_at - one.first_at <= LONGEST_S for one, _ in found)


def test_above_and_below_and_other_streams_are_other_matters():
    below = later(1, value=0.0)

    assert [news for _, news in taken(EVENT, below)] == [News.NEW, News.NEW]
    assert fingerprint_of("cpu", EVENT) != fingerprint_of("memory", EVENT)
    assert fingerprint_of("cpu", EVENT) == fingerprint_of("cpu", later(9, value=30.0))


def test_a_worse_event_is_news_and_the_one_that_is_shown():
    worse = later(1, severity=Severity.CRITICAL, score=9.0)
    [_, (incident, news), (after, more)] = taken(EVENT, worse, later(2))

    assert (news, incident.event) == (News.WORSE, worse)
    assert (more, after.event, after.count) == (News.AGAIN, worse, 3)


def test_incidents_go_on_after_a_restart():
    [(known, _)] = taken(EVENT)
    incident, news = Incidents([known]).take("cpu", later(10))

    assert (news, incident.id, incident.count) == (News.AGAIN, known.id, 2)


def test_a_clock_that_was_set_far_back_begins_a_new_one():
    [_, (_, news)] = taken(EVENT, later(-86_400))

    assert news is News.NEW


def test_only_so_many_are_open():
    incidents = Incidents(most=3)
    for number in range(10):
        incidents.take(f"s{number}", EVENT)
    news = [incidents.take(f"s{number}", later(1))[1] for number in (9, 8, 7, 0)]

    assert news == [News.AGAIN, News.AGAIN, News.AGAIN, News.NEW]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.sampled_from(["a", "b"])), max_size=40))
def test_every_event_is_counted_once_whatever_the_clock_does(steps):
    incidents, open_, closed = Incidents(), {}, []
    for seconds, stream in steps:
        incident, news = incidents.take(stream, later(seconds))
        closed += [open_[stream]] if news is News.NEW and stream in open_ else []
        open_[stream] = incident

    assert sum(one.count for one in (*closed, *open_.values())) == len(steps)
