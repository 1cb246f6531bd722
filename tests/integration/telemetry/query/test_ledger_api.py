"""What the API tells of deliveries: sums, gaps by stage, receipts; and what it refuses."""

import datetime as dt
import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from iotistic.contracts.delivery import SignatureInvalid
from iotistic.telemetry.ledger.receipts import Notary, SigningKey, chain_faults, read_public_key, verify
from iotistic.telemetry.ledger.repository import LedgerRepository
from iotistic.telemetry.model import Deliveries, Resolved, no_rows
from iotistic.telemetry.sink.sink import Sink

MAC = "mac:aabbccddee01"
NOW_US = 1_795_255_200_000_000  # 2026-11-21T10:00:00Z
NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@pytest.fixture
async def deliver(database):
    """Store stamped messages: (sender, epoch, numbers)."""
    sink = Sink(database, application_name="ledger-api")

    async def store(source, epoch, numbers, *, after_s=0):
        count = len(numbers)
        columns = np.full(count, epoch, np.int64), np.array(numbers, np.int64)
        at_us = NOW_US + after_s * 1_000_000
        await sink.write(Resolved(no_rows(), [], [], at_us, Deliveries([source] * count, *columns)))

    yield store
    await sink.close()


@pytest.fixture
def ledger(pool):
    return LedgerRepository(pool)


async def told(api, **asked):
    answer = await api.get("/ledger", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def note_gaps(ledger):
    for _ in range(2):
        await ledger.fold(rounds=5)
        await ledger.heal(None)
        await ledger.watch(dt.timedelta(0))


async def test_an_empty_ledger_is_told_as_one(api):
    answer = await told(api)

    assert (answer["items"], answer["dropped"], answer["next_cursor"]) == ([], [], None)
    assert set(answer["totals"].values()) == {0, None}
    assert answer["stages"] == []
    assert (await api.get("/ledger/receipts")).json() == {"items": [], "next_cursor": None}


async def test_sent_stored_missing_and_duplicates_of_a_device_named_in_any_way(api, store, deliver):
    device = await store.device("pump", mac="aabbccddee01")
    await deliver(MAC, 5, [1, 2, 3, 7, 7])
    await deliver("key:other", 1, [1])

    answers = [await told(api, device=name) for name in (str(device), "aa:bb:cc:dd:ee:01", "pump", MAC)]

    assert answers[0] == answers[1] == answers[2] == answers[3]
    (item,) = answers[0]["items"]
    assert (item["device_id"], item["device_name"], item["epoch"]) == (device, "pump", 5)
    assert [item[name] for name in ("sent", "stored", "missing", "duplicates", "healed")] == [7, 4, 3, 1, 0]
    (gap,) = item["gaps"]
    assert [gap[name] for name in ("first", "last", "count", "stage")] == [4, 6, 3, "on_the_way"]
    assert answers[0]["totals"]["senders"] == 1


async def test_a_device_that_never_answers_is_left_alone_until_something_missing_comes(deliver, ledger):
    await deliver(MAC, 5, [1, 4])
    await note_gaps(ledger)
    due = [len(await ledger.due(limit=9, ranges=9))]
    await ledger.note_asked([(MAC, 5, None)])
    await note_gaps(ledger)
    due.append(len(await ledger.due(limit=9, ranges=9)))
    await deliver(MAC, 5, [2])
    await note_gaps(ledger)
    due.append(len(await ledger.due(limit=9, ranges=9)))

    assert due == [1, 0, 1]


async def test_what_comes_after_it_was_noted_as_missing_counts_as_healed_at_once(api, deliver, ledger):
    await deliver(MAC, 5, [1, 4])
    await note_gaps(ledger)
    await deliver(MAC, 5, [2, 3])

    assert (await told(api))["totals"] == {
        "senders": 1, "epochs": 1, "sent": 4, "stored": 4, "missing": 0, "duplicates": 0, "healed": 2,
        "healing": None,
    }  # fmt: skip


async def test_a_reader_does_not_wait_for_whoever_adds_up(api, deliver, connection):
    await deliver(MAC, 5, [1])
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('ledger_fold'))")
        meanwhile = await told(api)

    assert (meanwhile["waiting_batches"], meanwhile["items"]) == (1, [])
    assert (await told(api))["totals"]["stored"] == 1


async def test_what_is_too_old_is_dropped_and_told(api, deliver, ledger):
    await deliver(MAC, 5, [1, 3])
    await deliver(MAC, 6, [1], after_s=7200)
    await ledger.fold(rounds=5)

    await ledger.forget(dt.datetime(2026, 11, 21, 11, tzinfo=dt.UTC))

    answer = await told(api)
    assert [item["epoch"] for item in answer["items"]] == [6]
    (dropped,) = answer["dropped"]
    assert [dropped[name] for name in ("reason", "epochs", "sent", "stored")] == ["too_old", 1, 3, 2]


async def test_epochs_are_paged_and_chosen_by_time_and_by_gaps(api, deliver):
    for epoch in range(5):
        await deliver(f"key:{epoch % 2}", epoch, [1, 2 + epoch % 2], after_s=3600 * epoch)
    seen, cursor = [], None
    for _ in range(3):
        page = await told(api, limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [(item["source"], item["epoch"]) for item in page["items"]]
        cursor = page["next_cursor"]

    assert (seen, cursor) == ([("key:0", 0), ("key:0", 2), ("key:0", 4), ("key:1", 1), ("key:1", 3)], None)
    assert {item["epoch"] for item in (await told(api, missing=True))["items"]} == {1, 3}
    between = {"from": "2026-11-21T11:00:00Z", "to": "2026-11-21T12:30:00Z"}
    assert {item["epoch"] for item in (await told(api, **between))["items"]} == {1, 2}


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"device": "nobody"}, 404),
        ({"from": "yesterday-ish"}, 422),
        ({"limit": 0}, 422),
        ({"cursor": "forged"}, 400),
        ({"devices": "x"}, 422),
        ({"device": "key:\0"}, 422),
    ],
)
async def test_questions_that_make_no_sense_are_refused_with_a_reason(api, params, status):
    for path in ("/ledger", "/ledger/receipts"):
        answer = await api.get(path, params=params)
        assert answer.status_code == status
        assert answer.json()["code"]


async def test_nobody_reads_the_ledger_without_the_right_token(anonymous):
    for path in ("/api/v1/telemetry/ledger", "/api/v1/telemetry/ledger/receipts"):
        assert (await anonymous.get(path)).status_code == 401
        wrong = {"Authorization": "Bearer iot_wrong"}
        assert (await anonymous.get(path, headers=wrong)).status_code == 401


@pytest.fixture
def signer(tmp_path, ledger):
    key = SigningKey.kept_in(tmp_path / "ledger.key")
    return Notary(ledger, lambda: key), read_public_key(tmp_path / "ledger.pub")


async def signed(api, deliver, ledger, notary):
    """Two hours of one sender, a receipt for each."""
    await deliver(MAC, 5, [1, 2, 4], after_s=3600)
    await ledger.fold(rounds=5)
    await notary.sign_due(NOON)
    await deliver(MAC, 5, [3, 5], after_s=7200)
    await ledger.fold(rounds=5)
    await notary.sign_due(NOON + dt.timedelta(hours=1))
    return (await api.get("/ledger/receipts")).json()["items"]


async def test_each_hour_has_one_signed_receipt_that_names_the_one_before(api, deliver, ledger, signer):
    notary, public = signer
    first, second = await signed(api, deliver, ledger, notary)
    again = await notary.sign_due(NOON + dt.timedelta(hours=1))

    for receipt in (first, second):
        verify(receipt, public)
    assert (first["source"], first["until"]) == (MAC, "2026-11-21T12:00:00Z")
    assert [first["epochs"][0][name] for name in ("sent", "stored", "missing")] == [4, 3, 1]
    assert first["epochs"][0]["missing_ranges"] == [[3, 3]]
    assert chain_faults([first, second]) == []
    assert again == {}


async def test_forged_changed_and_left_out_receipts_are_refused(api, deliver, ledger, signer, tmp_path):
    notary, public = signer
    first, second = await signed(api, deliver, ledger, notary)
    stranger = SigningKey(Ed25519PrivateKey.generate())
    forged = stranger.sign({name: value for name, value in first.items() if name not in ("key", "signature")})
    changed = [
        {**first, "source": "mac:aabbccddee02"},
        {**first, "epochs": []},
        {**first, "extra": 1},
        {**first, "signature": second["signature"]},
        {**first, "signature": 7},
        {name: value for name, value in first.items() if name != "signature"},
        {**json.loads(forged), "key": first["key"]},
    ]

    for receipt in changed:
        with pytest.raises(SignatureInvalid):
            verify(receipt, public)
    assert chain_faults([first, {**second, "previous": None}])
    assert chain_faults([{**first, "healed": 1}, second])
