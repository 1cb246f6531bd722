"""What the reconciler remembers comes back as it was, and is written only when it changed."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.reconcile.record import Record
from iotistic.agent.store.records import read_record, write_record
from iotistic.agent.store.store import Store
from iotistic.planning.model import (
    Failures,
    Mount,
    Port,
    Probe,
    ProbeKind,
    Probes,
    Release,
    Resources,
    ServiceConfig,
    ServiceKey,
)
from iotistic.planning.steps import Fetch

NAMES = st.text("abc/%é", min_size=1, max_size=6)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
KEYS = st.builds(ServiceKey, NAMES, NAMES)
CONFIGS = st.builds(
    ServiceConfig,
    image=st.sampled_from(["web:1", "web:2", "reg.example/a/b@sha256:" + "0" * 64]),
    environment=st.frozensets(st.tuples(st.sampled_from("ABC"), TEXTS), max_size=1),
    ports=st.sampled_from([frozenset(), frozenset({Port(80, 8080), Port(53, 53, "udp", "127.0.0.1")})]),
    mounts=st.sampled_from([frozenset(), frozenset({Mount("data", "/data"), Mount("/etc", "/e", True)})]),
    resources=st.sampled_from([Resources(), Resources(500_000_000, 2**20, None, 2**19)]),
    probes=st.sampled_from([Probes(), Probes(liveness=Probe(ProbeKind.HTTP, port=80, timeout_s=0.5))]),
)
TIMES = st.floats(0, 2e9)
RECORDS = st.builds(
    Record,
    crashes=st.dictionaries(
        st.builds(Release, KEYS, CONFIGS),
        st.builds(Failures, st.integers(1, 99), TIMES, st.text()),
        max_size=3,
    ),
    last_good=st.dictionaries(KEYS, CONFIGS, max_size=3),
    stopped=st.sets(NAMES),
    applied=st.dictionaries(NAMES, CONFIGS, max_size=3),
    held=st.sets(NAMES),
    fetched=st.sets(NAMES),
    purged_at=st.dictionaries(NAMES, TIMES, max_size=3),
)


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(record):
    assert read_record(write_record(record)) == record


def test_what_only_paces_is_not_kept():
    record = Record(failures={Fetch("web:1"): Failures(2, 1.0, "no")})

    assert read_record(write_record(record)) == Record()


def test_a_configuration_that_is_not_understood_any_more_costs_only_itself():
    record = Record(last_good={ServiceKey("1", "9"): ServiceConfig("web:1")}, stopped={"c1"})
    written = write_record(record)
    written["last_good"].append({"service": ["1", "8"], "config": {"image": "web:1", "restart": "sometimes"}})

    assert read_record(written) == record


async def test_a_record_outlives_the_process(tmp_path):
    record = Record(stopped={"c1"}, held={"1"}, purged_at={"1": 5.0})
    store = await Store.open(tmp_path / "agent.sqlite")
    empty = await store.record.load()
    await store.record.save(record)
    await store.close()
    store = await Store.open(tmp_path / "agent.sqlite")
    found = await store.record.load()
    await store.close()

    assert (empty, found) == (Record(), record)


async def test_a_record_is_written_only_when_it_changed(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    record = Record(stopped={"c1"})
    await store.record.save(record)
    before = await store.database.run(lambda db: db.total_changes)
    for _ in range(10):
        await store.record.save(record)
    unchanged = await store.database.run(lambda db: db.total_changes)
    record.held.add("1")
    await store.record.save(record)
    changed = await store.database.run(lambda db: db.total_changes)
    await store.close()

    assert (unchanged, changed) == (before, before + 1)


async def test_a_disk_that_takes_no_writes_does_not_hold_up_the_reconciler(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    pages = await store.database.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await store.database.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    record = Record(stopped={f"{number:064x}" for number in range(0, 10**9, 10**6)})
    await store.record.save(record)
    refused = store.database.fault
    await store.database.run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    await store.record.save(record)
    found = await store.record.load()
    await store.close()

    assert refused
    assert (store.database.fault, found) == ("", record)


async def test_saves_that_overtake_each_other_end_with_the_newest(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    record, saves = Record(), []
    for number in range(20):
        record.stopped.add(str(number))
        saves.append(asyncio.create_task(store.record.save(record)))
        await asyncio.sleep(0)
    await asyncio.gather(*saves)
    await store.close()
    store = await Store.open(tmp_path / "agent.sqlite")
    found = await store.record.load()
    await store.close()

    assert found == record


async def test_a_record_of_another_shape_is_left_alone(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    for written in ([], {"stopped": 5}, {"stopped": [], "held": []}, None):
        sealed = store.record._sealer.seal_json(written, "record")
        await store.database.run(
            lambda db, sealed=sealed: db.execute("INSERT OR REPLACE INTO record VALUES (1, ?, 0)", (sealed,))
        )
        assert await store.record.load() == Record()
    await store.close()
