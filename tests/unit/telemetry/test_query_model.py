from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.telemetry.query.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Horizon,
    Source,
    Span,
    bucket_width,
    plan_series,
    source_for,
)
from iotistic.telemetry.query.references import (
    Key,
    ParameterInvalid,
    decode_cursor,
    encode_cursor,
    parse_device_reference,
)
from iotistic.telemetry.query.times import from_us, iso, parse_time, to_us

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
instants = st.integers(0, 100 * 365 * DAY)


@given(start=instants, length=st.integers(1, 3660 * DAY), points=st.integers(2, 10_000))
def test_buckets_are_never_more_than_points_and_cover_the_range(start: int, length: int, points: int):
    width = bucket_width(Span(start, start + length), points)
    plan = plan_series(Span(start, start + length), width, Horizon())

    assert plan.span.start <= start
    assert plan.span.end >= start + length
    assert (plan.span.end - plan.span.start) // width <= points


@given(
    start=instants,
    length=st.integers(1, 400 * DAY),
    points=st.integers(2, 1000),
    rolled=instants,
    hours=instants,
)
def test_every_instant_comes_from_exactly_one_place(
    start: int, length: int, points: int, rolled: int, hours: int
):
    asked = Span(start, start + length)
    horizon = Horizon(rolled_until=max(rolled, hours), hours_rolled_until=hours)
    plan = plan_series(asked, bucket_width(asked, points), horizon)

    assert plan.hours.start == plan.span.start
    assert plan.hours.end == plan.minutes.start <= plan.minutes.end == plan.raw.start <= plan.raw.end
    assert plan.raw.end == plan.span.end
    assert plan.hours.end % HOUR == 0 or plan.hours.start == plan.hours.end


@pytest.mark.parametrize(
    ("length", "points", "width", "source"),
    [
        (DAY, 500, 180 * SECOND, Source.MINUTES),
        (30 * DAY, 500, 2 * HOUR, Source.HOURS),
        (10 * MINUTE, 500, 2 * SECOND, Source.RAW),
        (3660 * DAY, 2, 1830 * DAY, Source.HOURS),
    ],
)
def test_widths_are_round_and_take_the_coarsest_source(length: int, points: int, width: int, source: Source):
    chosen = bucket_width(Span(0, length), points)

    assert (chosen, source_for(chosen)) == (width, source)


def test_stale_minutes_that_retention_dropped_are_not_read_again():
    horizon = Horizon(
        rolled_until=10 * HOUR,
        hours_rolled_until=10 * HOUR,
        raw_kept_from=5 * HOUR,
        stale_minutes=frozenset({4 * HOUR, 6 * HOUR}),
    )
    plan = plan_series(Span(0, 12 * HOUR), HOUR, horizon)

    assert (plan.stale_minutes, plan.stale_hours) == ([6 * HOUR], [6 * HOUR])


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", NOW),
        ("-24h", NOW - timedelta(hours=24)),
        ("+90s", NOW + timedelta(seconds=90)),
        ("-2w", NOW - timedelta(weeks=2)),
        ("2026-03-10", NOW.replace(hour=0)),
        ("2026-03-10T12:00:00Z", NOW),
        ("2026-03-10T12:00:00", NOW),
        ("2026-03-10T14:00:00+02:00", NOW),
        ("2026-03-10T14:00:00 02:00", NOW),
    ],
)
def test_times_are_understood_in_every_accepted_form(text: str, instant: datetime):
    assert parse_time(text, now=NOW) == instant


@given(st.text(max_size=40))
def test_any_other_text_is_refused_with_the_forms(text: str):
    try:
        parsed = parse_time(text, now=NOW)
    except ValueError as exc:
        assert "ISO 8601" in str(exc) or "1970" in str(exc)  # noqa: PT017 - most texts are refused, some are times
    else:
        assert parsed.tzinfo is not None


@given(instants)
def test_microseconds_survive_the_way_there_and_back(instant: int):
    assert to_us(from_us(instant)) == instant
    assert parse_time(iso(from_us(max(instant, 2 * DAY)))) == from_us(max(instant, 2 * DAY))


@given(
    st.lists(
        st.one_of(st.integers(-1, 2**31 - 1), st.text(max_size=20).filter(lambda t: "\0" not in t)),
        max_size=4,
    )
)
def test_a_cursor_comes_back_as_it_was_made(keys: list[int | str]):
    kinds = [Key.ID if isinstance(key, int) else Key.TEXT for key in keys]

    assert decode_cursor(encode_cursor("list", *keys), "list", keys=kinds) == ("list", keys)


@given(st.text(max_size=60))
def test_a_forged_cursor_is_the_callers_fault(cursor: str):
    with pytest.raises(ParameterInvalid):
        decode_cursor(cursor, "list", keys=[Key.TIME, Key.ID])


def test_a_number_may_be_an_id_or_a_mac_or_a_key():
    twelve = parse_device_reference("112233445566")

    assert (twelve.id, twelve.mac, twelve.external_key) == (None, "112233445566", "112233445566")
    assert parse_device_reference("7").id == 7
    assert parse_device_reference("2147483648").id is None
