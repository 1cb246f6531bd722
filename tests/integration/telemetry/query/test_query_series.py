"""Series equal what brute force over all rows says, whatever the source and however stale the rollups."""

from datetime import datetime, timedelta

import pytest
from api_builders import Row, Store, at, random_rows

pytestmark = pytest.mark.every_store

NOW = at("10 12:00:30")


def got(series: dict) -> list[tuple]:
    return [(datetime.fromisoformat(b["time"]), b["min"], b["max"], b["count"]) for b in series["buckets"]]


async def ask(api, device: int, **parameters) -> dict:
    answer = await api.get(f"/devices/{device}/series", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def check(api, store: Store, device: int, datapoint: int, **parameters) -> dict:
    """Compare both aggregates with brute force; return the answer."""
    answer = await ask(api, device, datapoint=datapoint, **parameters)
    right = store.brute_force(device, datapoint, answer)
    means = await ask(api, device, datapoint=datapoint, aggregate="avg", **parameters)

    assert right
    assert got(answer["series"][0]) == [(when, low, high, count) for when, low, high, _, count in right]
    assert [b["avg"] for b in means["series"][0]["buckets"]] == pytest.approx([row[3] for row in right])
    assert len(right) <= parameters["points"]
    return answer


@pytest.fixture
async def series(store: Store, roll):
    """Two days of random rows, rolled up to NOW, then a late hour, a late minute and a raw tail."""
    device, datapoint = await store.device("boiler"), await store.datapoint("temperature", unit="°C")
    other = await store.device("other")
    await store.add(random_rows(device, datapoint, start=at("08 00:00:00"), end=NOW, count=4000))
    await store.add(random_rows(other, datapoint, start=at("08 00:00:00"), end=NOW, count=500, seed=2))
    await roll(NOW)
    late: list[Row] = random_rows(
        device, datapoint, start=at("09 03:00:00"), end=at("09 04:00:00"), count=90, seed=3
    )
    await store.add([(when, *rest[:2], 500.0 + rest[2]) for when, *rest in late])
    await store.add(random_rows(device, datapoint, start=NOW, end=at("10 12:10:00"), count=200, seed=4))
    return device, datapoint


@pytest.mark.parametrize(
    ("start", "points", "source", "bucket_s"),
    [
        ("2026-03-10T11:50:00Z", 500, "raw", 3),
        ("2026-03-10T11:00:00Z", 50, "1m", 120),
        ("2026-03-08T00:00:00Z", 2000, "1m", 120),
        ("2026-03-08T00:00:00Z", 500, "1m", 600),
        ("2026-03-08T00:00:00Z", 61, "1h", 3600),
        ("2026-03-08T07:13:11.5Z", 12, "1h", 21600),
        ("2026-03-08T00:00:00Z", 2, "1h", 172800),
    ],
)
async def test_a_series_equals_brute_force_from_every_source(
    api, store, series, start, points, source, bucket_s
):
    answer = await check(
        api, store, *series, **{"from": start, "to": "2026-03-10T12:10:00Z", "points": points}
    )

    assert (answer["source"], answer["bucket_s"]) == (source, bucket_s)


async def test_late_rows_count_before_and_after_they_are_rolled(api, store, series, roll):
    asked = {"from": "2026-03-09T00:00:00Z", "to": "2026-03-09T06:00:00Z", "points": 6}
    before = await check(api, store, *series, **asked)
    await roll(NOW + timedelta(hours=2))
    after = await check(api, store, *series, **asked)

    assert before["series"] == after["series"]
    assert max(bucket["max"] for bucket in after["series"][0]["buckets"]) > 500


async def test_a_tail_that_is_not_rolled_yet_comes_from_raw_rows(api, store, series):
    answer = await check(
        api, store, *series, **{"from": "2026-03-08T00:00:00Z", "to": "2026-03-10T12:10:00Z", "points": 100}
    )

    assert answer["exact_raw_from"] == "2026-03-10T12:00:00Z"


async def test_what_retention_dropped_is_answered_from_the_next_rollup(api, store, series, roll, connection):
    await roll(NOW + timedelta(hours=3))
    await connection.execute("UPDATE rollup_state SET raw_kept_from = '2026-03-10Z'")
    await connection.execute("DELETE FROM decoded_data WHERE \"timestamp\" < '2026-03-10Z'")

    answer = await check(
        api, store, *series, **{"from": "2026-03-09T01:00:00Z", "to": "2026-03-09T01:30:00Z", "points": 500}
    )

    assert (answer["source"], answer["bucket_s"]) == ("1m", 60)


async def test_rollups_that_never_ran_change_nothing(api, store):
    device, datapoint = await store.device("boiler"), await store.datapoint("temperature")
    await store.add(random_rows(device, datapoint, start=at("08 00:00:00"), end=at("09 00:00:00"), count=900))

    await check(api, store, device, datapoint, **{"from": "2026-03-08", "to": "2026-03-09", "points": 24})


async def test_sums_beyond_the_largest_float_still_have_a_mean(api, store):
    device, datapoint = await store.device("boiler"), await store.datapoint("huge")
    await store.add([(at(f"08 00:00:0{n}"), device, datapoint, 1.5e308) for n in range(5)])

    answer = await ask(
        api, device, datapoint="huge", aggregate="avg", points=2, **{"from": "2026-03-08", "to": "2026-03-09"}
    )

    assert answer["series"][0]["buckets"][0]["avg"] == pytest.approx(1.5e308)


async def test_several_datapoints_come_in_the_order_asked_for_by_label_or_id(api, store):
    device = await store.device("boiler")
    first, second = await store.datapoint("first", unit="bar"), await store.datapoint("second")
    await store.add([(at("08 00:00:00"), device, datapoint, 1.0) for datapoint in (first, second)])

    answer = await ask(
        api, device, datapoint=["second", str(first)], **{"from": "2026-03-08", "to": "2026-03-09"}
    )

    assert [(s["label"], s.get("unit"), len(s["buckets"])) for s in answer["series"]] == [
        ("second", None, 1),
        ("first", "bar", 1),
    ]


async def test_a_series_as_csv_quotes_what_needs_quoting(api, store):
    device = await store.device("boiler")
    datapoint = await store.datapoint('a "b", c', unit="x,y")
    await store.add(
        [(at("08 00:00:00"), device, datapoint, 1.25), (at("08 00:00:01"), device, datapoint, -2.0)]
    )

    answer = await api.get(
        f"/devices/{device}/series",
        params={
            "datapoint": 'a "b", c',
            "from": "2026-03-08",
            "to": "2026-03-09",
            "points": 2,
            "format": "csv",
        },
    )

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text == (
        "time,datapoint_id,label,unit,min,max,count\r\n"
        f'2026-03-08T00:00:00Z,{datapoint},"a ""b"", c","x,y",-2.0,1.25,2\r\n'
    )
