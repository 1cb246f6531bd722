"""The agent's disk: real SQLite files, in every bad shape."""

import asyncio
import itertools
import json
import os
import sqlite3
import stat
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotistic.agent.reconcile.record import Record
from iotistic.agent.store import device, schema, sealing
from iotistic.agent.store.database import open_database
from iotistic.agent.store.device import Identity
from iotistic.agent.store.endpoints import Endpoint, SensorOutput
from iotistic.agent.store.errors import (
    SealBroken,
    StoreInUse,
    StoreKeyMissing,
    StoreKeyWrong,
    StoreSchemaUnusable,
    StoreUnavailable,
)
from iotistic.agent.store.outbox_rows import Letter
from iotistic.agent.store.sealing import Sealer
from iotistic.agent.store.snapshots import StoredTarget
from iotistic.agent.store.store import Store
from iotistic.planning.faults import Fault

DOCUMENT = {"apps": {"1": {"appName": "shop", "services": []}}, "config": {}}
MARK = "Geheimnis-4711"


async def filled(path):
    store = await Store.open(path)
    await store.device.load()
    await store.device.change(device_name=MARK, mqtt_password=MARK, mqtt_broker_config={"ca": MARK})
    await store.target.save(StoredTarget({"apps": {MARK: MARK}}, 3, MARK, (Fault("apps", MARK),)))
    await store.snapshots.save("current", {"containers": [MARK]})
    await store.endpoints.save(Endpoint(MARK, MARK, "modbus", connection={"password": MARK}))
    await store.sensor_outputs.save(SensorOutput("modbus", f"/run/{MARK}.sock"))
    await store.metadata.put("note", MARK)
    await store.outbox.append([Letter(MARK, MARK.encode() * 3)])
    return store


async def test_only_the_stores_thread_waits_for_the_disk(tmp_path, monkeypatch):
    writers = []
    for module in (device, sealing):

        def write(*told, as_before=module.write_atomic, **more):
            writers.append(threading.current_thread())
            as_before(*told, **more)

        monkeypatch.setattr(module, "write_atomic", write)
    store = await Store.open(tmp_path / "agent.sqlite")
    await store.device.change(device_name="press 7")
    await store.close()

    assert len(writers) == 3  # the key, the copy of the identity when it was made and when it was changed
    assert threading.main_thread() not in writers


async def test_the_first_start_makes_an_identity_that_every_later_one_finds(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    made = await store.device.load()
    await store.close()
    store = await Store.open(tmp_path / "agent.sqlite")
    found = await store.device.load()
    await store.close()

    assert made == found
    assert len(made.uuid) == 36
    assert len(made.device_api_key) >= 43


async def test_a_change_of_the_identity_leaves_the_rest_of_it(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    before = await store.device.load()
    await store.device.change(device_id="7", mqtt_broker_config={"port": 8883})
    await store.close()
    store = await Store.open(tmp_path / "agent.sqlite")
    after = await store.device.load()
    await store.close()

    assert (after.uuid, after.device_api_key) == (before.uuid, before.device_api_key)
    assert (after.device_id, after.mqtt_broker_config) == ("7", {"port": 8883})


async def test_changes_at_once_do_not_undo_each_other(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    await store.device.load()
    await asyncio.gather(store.device.change(device_id="7"), store.device.change(device_name="boiler"))
    found = await store.device.load()
    await store.close()

    assert (found.device_id, found.device_name) == ("7", "boiler")


async def test_deprovisioning_keeps_uuid_and_device_key_and_nothing_else(tmp_path):
    store = await filled(tmp_path / "agent.sqlite")
    before = await store.device.change(provisioned=True, device_id="7")
    after = await store.device.deprovision()
    await store.close()

    assert after == Identity(before.uuid, before.device_api_key)


async def test_a_factory_reset_keeps_the_uuid_and_nothing_else(tmp_path):
    store = await filled(tmp_path / "agent.sqlite")
    before = await store.device.load()
    after = await store.factory_reset()
    state = await store.target.load(), await store.snapshots.load("current"), await store.endpoints.load()
    rest = await store.sensor_outputs.load(), await store.metadata.load(), await store.outbox.waiting()
    await store.close()

    assert after == Identity(before.uuid, after.device_api_key)
    assert after.device_api_key not in ("", before.device_api_key)
    assert (state, rest) == ((None, None, []), ({}, {}, []))


async def test_a_factory_reset_leaves_no_old_row_in_the_file(tmp_path):
    path = tmp_path / "agent.sqlite"
    store = await filled(path)
    sealed = await store.database.run(lambda db: db.execute("SELECT sealed FROM state_snapshots").fetchall())
    await store.factory_reset()
    await store.close()

    content = path.read_bytes()
    assert [row for (row,) in sealed if row in content] == []


async def test_files_are_for_their_owner_only(tmp_path):
    store = await filled(tmp_path / "agent.sqlite")
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    await store.close()

    assert modes == dict.fromkeys((".sqlite", ".sqlite-wal", ".key", ".identity", ".epoch"), 0o600)


async def test_a_copy_without_the_key_reveals_nothing(tmp_path):
    store = await filled(tmp_path / "agent.sqlite")
    key = (await store.device.load()).device_api_key
    files = [path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".key"]
    await store.close()

    assert [one for one in files if MARK.encode() in one or key.encode() in one] == []


async def test_secrets_are_not_shown_with_the_identity(tmp_path):
    store = await filled(tmp_path / "agent.sqlite")
    identity = await store.device.change(provisioning_key="K1", private_key="K2", local_api_key="K3")
    await store.close()

    shown = repr(identity)
    assert [secret for secret in ("K1", "K2", "K3", identity.device_api_key) if secret in shown] == []


async def test_a_wrong_key_is_said_and_nothing_is_touched(tmp_path):
    path = tmp_path / "agent.sqlite"
    await (await filled(path)).close()
    before = path.read_bytes()
    (tmp_path / "agent.key").write_text("ab" * 32)

    with pytest.raises(StoreKeyWrong, match=r"is not the key that .* was sealed with"):
        await Store.open(path)
    assert path.read_bytes()[100:] == before[100:]  # the header counts openings


@pytest.mark.parametrize("written", [b"", b"ab", b"\xff" * 32, b"zz" * 32, b"ab" * 33])
async def test_a_key_file_that_holds_no_key_is_refused(tmp_path, written):
    (tmp_path / "agent.key").write_bytes(written)

    with pytest.raises(StoreKeyWrong):
        await Store.open(tmp_path / "agent.sqlite")


async def test_a_key_that_is_gone_is_not_replaced(tmp_path):
    await (await filled(tmp_path / "agent.sqlite")).close()
    (tmp_path / "agent.key").unlink()

    with pytest.raises(StoreKeyMissing):
        await Store.open(tmp_path / "agent.sqlite")
    assert not (tmp_path / "agent.key").exists()


async def test_a_second_agent_is_refused(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    with pytest.raises(StoreInUse):
        await Store.open(tmp_path / "agent.sqlite")
    await store.close()
    await (await Store.open(tmp_path / "agent.sqlite")).close()


async def damaged(path, damage):
    """Fill a store over many pages, close it, damage its file, and return the identity and what opens now."""
    store = await filled(path)
    identity = await store.device.load()
    await store.outbox.append([Letter("t", os.urandom(900)) for _ in range(200)])
    await store.close()
    content = bytearray(path.read_bytes())
    path.write_bytes(damage(content))
    return identity, await Store.open(path)


DAMAGES = {
    "garbage": lambda content: b"not a database at all" * 100,
    "no header": lambda content: bytes(100) + content[100:],
    "a format of another world": lambda content: content[:47] + b"\xff" + content[48:],
    "half": lambda content: content[: len(content) // 2],
    "one page": lambda content: content[:1024],
    "a page of zeros in the middle": lambda content: (
        content[: 1024 * 99] + bytes(1024) + content[1024 * 100 :]
    ),
    "ends in a page": lambda content: content[: 4096 * 30 + 1000],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_broken_database_is_replaced_and_the_device_stays_itself(tmp_path, damage):
    identity, store = await damaged(tmp_path / "agent.sqlite", damage)
    found = await store.device.load()
    old = {message.stamp for message in await store.outbox.waiting(1000)}
    (stamp,) = await store.outbox.append([Letter("t", b"new")])
    await store.close()
    again = await Store.open(tmp_path / "agent.sqlite")
    kept = await again.device.load()
    await again.close()

    assert found == kept == identity
    assert stamp not in old
    assert stamp.epoch > max((one.epoch for one in old), default=0)


HITS = st.lists(
    st.tuples(st.floats(0, 0.999), st.sampled_from([1, 100, 1024, 4096]), st.booleans()),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20, deadline=None)
@given(hits=HITS, kept=st.floats(0.05, 1), open_when_copied=st.booleans())
def test_no_damage_keeps_the_agent_from_its_start(tmp_path_factory, hits, kept, open_when_copied):
    async def run(folder):
        path = folder / "agent.sqlite"
        store = await filled(path)
        identity = await store.device.load()
        await store.outbox.append([Letter("t", os.urandom(900)) for _ in range(60)])
        copies = {one: one.read_bytes() for one in (path, folder / "agent.sqlite-wal")}
        await store.close()
        content = bytearray(copies[path] if open_when_copied else path.read_bytes())
        (folder / "agent.sqlite-wal").write_bytes(copies[folder / "agent.sqlite-wal"] * open_when_copied)
        for place, length, random in hits:
            at = int(place * len(content))
            content[at : at + length] = os.urandom(length) if random else bytes(length)
        path.write_bytes(content[: int(kept * len(content))])
        store = await Store.open(path)
        found = await store.device.load()
        old = {message.stamp for message in await store.outbox.waiting(1000)}
        (stamp,) = await store.outbox.append([Letter("t", b"new")])
        await store.close()
        assert found == identity
        assert stamp not in old

    asyncio.run(run(tmp_path_factory.mktemp("damage")))


async def test_what_can_still_be_read_of_a_broken_database_is_kept(tmp_path):
    _, store = await damaged(tmp_path / "agent.sqlite", DAMAGES["a page of zeros in the middle"])
    messages = await store.outbox.waiting(1000)
    target = await store.target.load()
    await store.close()

    assert len(messages) > 150
    assert target.version == 3
    assert len(list(tmp_path.glob("agent.sqlite.corrupt-*Z"))) == 1


async def test_a_store_that_breaks_again_and_again_keeps_two_files_at_most(tmp_path):
    for _ in range(4):
        _, store = await damaged(tmp_path / "agent.sqlite", DAMAGES["garbage"])
        await store.close()

    assert len(list(tmp_path.glob("agent.sqlite.corrupt-*Z"))) == 2


async def test_a_database_that_breaks_while_it_is_open_is_replaced(tmp_path):
    path = tmp_path / "agent.sqlite"
    store = await filled(path)
    identity = await store.device.load()

    def work(connection):
        raise corrupt()

    with pytest.raises(StoreUnavailable, match="rebuilt"):
        await store.database.run(work)
    found = await store.device.load()
    (stamp,) = await store.outbox.append([Letter("t", b"")])
    messages = await store.outbox.waiting()
    await store.close()

    assert found == identity
    assert [message.topic for message in messages] == [MARK, "t"]
    assert stamp.sequence == 1


def corrupt():
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


async def test_after_a_rebuild_what_did_not_change_is_written_again(tmp_path):
    store = await filled(tmp_path / "agent.sqlite")
    record = Record(held={"1"})
    await store.record.save(record)

    def work(connection):
        connection.execute("DELETE FROM record")
        connection.execute("DELETE FROM state_snapshots")
        connection.execute("COMMIT")
        raise corrupt()

    with pytest.raises(StoreUnavailable):
        await store.database.run(work)
    await store.record.save(record)
    saved = await store.snapshots.save("current", {"containers": [MARK]})
    found = await store.record.load()
    await store.close()

    assert (found, saved) == (record, True)


async def test_several_stores_share_a_few_threads(tmp_path):
    with ThreadPoolExecutor(3) as executor:
        stores = [await Store.open(tmp_path / str(n) / "agent.sqlite", executor=executor) for n in range(6)]
        appended = await asyncio.gather(
            *(store.outbox.append([Letter("t", b"%d" % n)]) for n, store in enumerate(stores * 20))
        )
        found = [len(await store.outbox.waiting(1000)) for store in stores]
        await asyncio.gather(*(store.close() for store in stores))

    assert found == [20] * 6
    assert {stamp.sequence for (stamp,) in appended} == set(range(1, 21))


async def test_a_full_database_says_so_and_takes_writes_again_when_there_is_room(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    pages = await store.database.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await store.database.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(StoreUnavailable, match="does not take writes"):
        await store.outbox.append([Letter("t", os.urandom(90_000))])
    fault = store.database.fault
    await store.database.run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    (stamp,) = await store.outbox.append([Letter("t", os.urandom(90_000))])
    await store.close()

    assert "full" in fault
    assert store.database.fault == ""
    assert stamp.sequence == 1


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.needs_root
async def test_a_disk_that_is_full_refuses_and_keeps_what_it_has(small_disk):
    store = await filled(small_disk / "agent.sqlite")
    kept = []
    with pytest.raises(StoreUnavailable):  # noqa: PT012  as many as fit
        for number in itertools.count():
            kept += await store.outbox.append([Letter("t", b"%d" % number + os.urandom(20_000))])
    found = [message.stamp for message in await store.outbox.waiting(1000)]
    await store.close()

    assert len(kept) > 5
    assert found[1:] == kept


@pytest.mark.needs_root
async def test_on_a_read_only_disk_the_agent_works_with_what_it_finds(small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = await filled(small_disk / "agent.sqlite")
    identity = await store.device.load()
    await store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)  # noqa: ASYNC221  a moment
    store = await Store.open(small_disk / "agent.sqlite")
    found = await store.device.load()
    target = await store.target.load()
    (stamp,) = await store.outbox.append([Letter("t", b"")])
    old = await store.outbox.waiting(1)
    await store.close()

    assert (store.database.is_kept, found, target.version) == (False, identity, 3)
    assert list(tmp_path.glob("iotistic-store-*")) == []
    assert "read" in store.database.fault
    assert stamp.epoch > old[0].stamp.epoch


async def test_without_any_disk_the_agent_lives_as_long_as_the_process(tmp_path):
    (tmp_path / "file").write_text("")
    store = await Store.open(tmp_path / "file" / "agent.sqlite")
    made = await store.device.load()
    await store.outbox.append([Letter("t", b"1")])
    found = await store.device.load(), await store.outbox.waiting()
    await store.close()

    assert (found[0], len(found[1]), store.database.is_kept) == (made, 1, False)


async def test_work_that_fails_is_undone_alone(tmp_path):
    database = await open_database(tmp_path / "db")

    def put(name):
        def work(connection):
            connection.execute("INSERT INTO agent_metadata VALUES (?, x'00')", (name,))
            if name == "bad":
                raise ValueError(name)

        return work

    results = await asyncio.gather(
        *(database.run(put(name)) for name in ("a", "bad", "b", "a")), return_exceptions=True
    )
    rows = await database.run(lambda db: db.execute("SELECT name FROM agent_metadata").fetchall())
    await database.close()

    assert [type(one) for one in results] == [type(None), ValueError, type(None), sqlite3.IntegrityError]
    assert rows == [("a",), ("b",)]


async def test_only_what_is_to_survive_a_power_cut_waits_for_the_disk(tmp_path):
    """2 syncs with each commit, 1 does not; asked inside of the transaction, where it cannot change any more."""
    database = await open_database(tmp_path / "db")

    def level(connection):
        return connection.execute("PRAGMA synchronous").fetchone()[0]

    lazy = await database.run(level, durable=False)
    durable = await database.run(level)
    mixed = await asyncio.gather(database.run(level, durable=False), database.run(level))
    await database.close()

    assert (lazy, durable, mixed) == (1, 2, [2, 2])


async def test_a_closed_store_says_that_it_is_closed(tmp_path):
    database = await open_database(tmp_path / "db")
    await database.close()
    await database.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await database.run(lambda db: None)


async def test_a_migration_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "db"
    await (await open_database(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'x'")
    connection.close()

    with pytest.raises(StoreSchemaUnusable, match="0001_store"):
        await open_database(path)


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE a (x INTEGER);")
    (tmp_path / "0002_b.sql").write_text("CREATE TABLE b (x INTEGER); CREATE TABLE a (x INTEGER);")
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        schema.migrate(connection, tmp_path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()

    assert sorted(tables) == [("a",), ("schema_migrations",)]


async def test_the_database_of_a_newer_agent_is_used(tmp_path):
    path = tmp_path / "db"
    await (await open_database(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES ('9999_later', 'x', 0)")
    connection.close()

    await (await open_database(path)).close()


def test_a_sealed_value_opens_in_its_place_only():
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(b"value", "here")

    assert sealer.unseal(sealed, "here") == b"value"
    for wrong in (sealed[:-1], sealed[:5], b"", sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(SealBroken):
            sealer.unseal(wrong, "here")
    with pytest.raises(SealBroken):
        sealer.unseal(sealed, "there")


async def test_a_state_is_written_only_when_it_changed(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    first = await store.snapshots.save("current", {"a": 1, "b": [2]})
    second = await store.snapshots.save("current", {"b": [2], "a": 1})
    third = await store.snapshots.save("current", {"a": 2})
    await store.close()

    assert (first, second, third) == (True, False, True)


async def test_a_target_comes_back_with_version_etag_and_faults(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    target = StoredTarget(DOCUMENT, 4, "e1", (Fault("apps.1", "is wrong"),), 12.0)
    saved = await store.target.save(target), await store.target.save(target)
    await store.close()
    store = await Store.open(tmp_path / "agent.sqlite")
    found = await store.target.load()
    await store.target.forget()
    gone = await store.target.load()
    await store.close()

    assert saved == (True, False)
    assert (found, found.received_at, gone) == (target, 12.0, None)


async def test_endpoints_are_changed_seen_and_removed(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    boiler = Endpoint("u1", "boiler", "modbus", data_points=({"name": "t", "address": 1},))
    await store.endpoints.save(Endpoint("u2", "attic", "opcua"))
    await store.endpoints.save(Endpoint("u1", "old name", "modbus"))
    await store.endpoints.seen({"u1": 5.0, "nobody": 6.0})
    await store.endpoints.save(boiler)
    found = await store.endpoints.load()
    await store.endpoints.remove("u1")
    left = await store.endpoints.load()
    await store.close()

    assert found == [(Endpoint("u2", "attic", "opcua"), None), (boiler, 5.0)]
    assert left == [(Endpoint("u2", "attic", "opcua"), None)]


async def test_a_row_that_was_moved_reads_as_missing(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    await store.metadata.put("a", json.loads('{"x": [1, null]}'))
    await store.metadata.put("b", "other")
    await store.database.run(
        lambda db: db.execute(
            "UPDATE agent_metadata SET sealed = (SELECT sealed FROM agent_metadata WHERE name = 'a')"
        )
    )
    found = await store.metadata.load()
    await store.close()

    assert found == {"a": {"x": [1, None]}}


async def test_a_target_that_was_kept_by_another_release_is_no_reason_not_to_start(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    for kept in ({"document": {}, "faults": [], "signed_by": "x"}, {"document": {}}, ["x"]):
        await store.snapshots.save("target", kept)
        assert await store.target.load() is None
    await store.close()
