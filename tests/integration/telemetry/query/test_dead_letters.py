"""Dead letters: found by reason, shown byte for byte, published again, deleted."""

import pytest


@pytest.fixture
async def letters(store) -> list[int]:
    return [
        await store.dead_letter("decode.crc_mismatch", topic=b"tele/a", payload=b"one"),
        await store.dead_letter("decode.crc_mismatch", topic=b"tele/b", payload=b"\xff\x00"),
        await store.dead_letter("resolve.device_unknown", topic=b"tele/\xff", payload=b"three"),
        await store.dead_letter("resolve.device_unknown", topic=b"tele/d", payload=b"four"),
    ]


async def listed(api, **parameters) -> list[int]:
    answer = await api.get("/dead-letters", params=parameters)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_letters_are_found_newest_first_and_counted(api, letters):
    page = (await api.get("/dead-letters", params={"limit": 3})).json()

    assert [item["id"] for item in page["items"]] == letters[:0:-1]
    assert await listed(api, cursor=page["next_cursor"]) == letters[:1]
    assert await listed(api, reason="decode.crc_mismatch", since="-1h") == [letters[1], letters[0]]
    assert await listed(api, since="now") == []
    counts = (await api.get("/dead-letters/summary")).json()
    assert (counts["open"], {item["reason"]: item["open"] for item in counts["items"]}) == (
        4, {"decode.crc_mismatch": 2, "resolve.device_unknown": 2},
    )  # fmt: skip


async def test_a_letter_is_shown_byte_for_byte(api, letters):
    text = (await api.get(f"/dead-letters/{letters[0]}")).json()
    binary = (await api.get(f"/dead-letters/{letters[1]}")).json()
    missing = await api.get("/dead-letters/999999")

    assert (text["payload_text"], text["payload_hex"], text["topic"]) == ("one", "6f 6e 65", "tele/a")
    assert (binary["payload_text"], binary["payload_base64"]) == (None, "/wA=")
    assert (missing.status_code, missing.json()["code"]) == (404, "dead_letter.unknown")


async def test_a_replay_publishes_the_bytes_and_marks_the_letters(api, letters, publisher):
    answer = await api.post("/dead-letters/replay", json={"all": True})

    assert answer.json() == {"replayed": 3, "refused": 1, "refused_ids": [letters[2]]}
    assert sorted(publisher.published) == [("tele/a", b"one"), ("tele/b", b"\xff\x00"), ("tele/d", b"four")]
    assert await listed(api) == [letters[2]]
    assert len(await listed(api, state="replayed")) == 3
    again = await api.post("/dead-letters/replay", json={"reason": "decode.crc_mismatch"})
    assert again.json()["replayed"] == 0


async def test_a_broker_that_goes_away_leaves_the_rest_open(api, letters, publisher):
    publisher.away_after = 1
    answer = await api.post("/dead-letters/replay", json={"ids": letters[:2]})

    assert answer.status_code == 503
    assert len(publisher.published) == 1
    assert len(await listed(api, state="replayed")) == 1
    assert len(await listed(api)) == 3


async def test_letters_are_deleted_by_the_same_selection(api, letters):
    by_id = await api.delete("/dead-letters", params={"ids": letters[:1]})
    by_reason = await api.delete("/dead-letters", params={"reason": "resolve.device_unknown"})

    assert (by_id.json(), by_reason.json()) == ({"deleted": 1}, {"deleted": 2})
    assert await listed(api) == [letters[1]]
    assert (await api.delete("/dead-letters", params={"all": "true"})).json() == {"deleted": 1}


async def test_a_selection_is_exactly_one_thing(api, letters):
    answers = [
        await api.post("/dead-letters/replay", json={}),
        await api.post("/dead-letters/replay", json={"all": True, "reason": "x"}),
        await api.delete("/dead-letters"),
        await api.delete("/dead-letters", params={"all": "true", "ids": "1"}),
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert len(await listed(api)) == 4


async def test_more_letters_than_a_batch_are_replayed_once_each(api, store, publisher):
    await store.connection.execute(
        "INSERT INTO dead_letters (topic, payload, reason) "
        "SELECT 'tele/x', n::text::bytea, 'r' FROM generate_series(1, 501) n"
    )

    answer = await api.post("/dead-letters/replay", json={"reason": "r"})

    assert answer.json()["replayed"] == 501
    assert len(set(publisher.published)) == len(publisher.published) == 501
