"""Logs: uploaded in any size and shape, kept once, searched, followed."""

import asyncio
import gzip
import json
import time
import zlib

import httpx2
import pytest
from fleet_builders import PATIENT, build, served


def now_ms():
    return int(time.time() * 1000)


def line(number, *, message="line {}", service="web", level="info", ago_s=0, **more):
    fields = {
        "id": f"id-{number}",
        "message": message.format(number),
        "timestamp": now_ms() - ago_s * 1000 - (1000 - number % 1000),
        "level": level,
        "source": {"type": "container", "name": service},
        "serviceName": service,
        "isStdErr": False,
        "isSystem": False,
    }
    return json.dumps(fields | more).encode() + b"\n"


async def messages(device, **asked):
    answer = await device.fleet.get(f"/devices/{device.uuid}/logs", **asked)
    assert answer.status_code == 200, answer.text
    return [one["message"] for one in answer.json()["logs"]]


async def test_lines_are_kept_and_found_the_newest_first(fleet):
    device = await fleet.add()
    answer = await device.send(b"".join(line(number) for number in range(3)))
    (newest, *_) = (await fleet.get(f"/devices/{device.uuid}/logs")).json()["logs"]

    assert answer.json() == {
        "status": "ok", "received": 3, "stored": 3, "duplicates": 0, "expired": 0, "refused": 0, "faults": [],
    }  # fmt: skip
    assert await messages(device) == ["line 2", "line 1", "line 0"]
    assert (newest["service_name"], newest["level"], newest["is_stderr"]) == ("web", "info", False)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda content: content])
async def test_uploads_come_packed_or_not_and_as_an_array_too(fleet, pack):
    device = await fleet.add()
    encoding = {gzip.compress: "gzip", zlib.compress: "deflate"}.get(pack, "identity")
    lines = [line(number) for number in range(3)]
    array = json.dumps([json.loads(one) for one in lines], indent=2).encode()
    first = await device.send(pack(b"".join(lines)), **{"Content-Encoding": encoding})
    second = await device.send(
        pack(array), **{"Content-Encoding": encoding, "Content-Type": "application/json"}
    )

    assert (first.json()["stored"], second.json()["received"], second.json()["duplicates"]) == (3, 3, 3)


async def test_gzip_of_several_members_is_read_to_its_end(fleet):
    device = await fleet.add()
    packed = gzip.compress(line(1)) + gzip.compress(line(2))
    answer = await device.send(packed, **{"Content-Encoding": "gzip"})

    assert answer.json()["stored"] == 2


async def test_an_upload_far_over_every_limit_of_a_body_is_taken_whole(fleet):
    device = await fleet.add()
    padding = "x" * 1000

    async def content():
        for start in range(0, 12_000, 100):
            yield b"".join(line(n, message=f"{padding} {{}}", ago_s=n) for n in range(start, start + 100))

    answer = await device.send(content())

    assert (answer.status_code, answer.json()["stored"]) == (200, 12_000)


async def test_the_same_upload_again_is_kept_once(fleet):
    device, other = await fleet.add(), await fleet.add()
    content = b"".join(line(number) for number in range(2500))
    answers = await asyncio.gather(*(device.send(content) for _ in range(3)))
    await other.send(line(1))

    assert sum(one.json()["stored"] for one in answers) == 2500
    assert sum(one.json()["duplicates"] for one in answers) == 5000
    assert await fleet.pool.fetchval("SELECT count(*) FROM device_logs") == 2501


async def test_lines_without_an_id_are_told_apart_by_what_they_say_and_how_often(fleet):
    device = await fleet.add()
    said = {"message": "again", "timestamp": now_ms(), "serviceName": "web"}
    content = b"".join(json.dumps(said).encode() + b"\n" for _ in range(3))
    first, second = await device.send(content), await device.send(content)

    assert (first.json()["stored"], second.json()["stored"]) == (3, 0)


async def test_a_device_without_a_clock_loses_no_line_and_doubles_none(fleet):
    device = await fleet.add()
    content = b"".join(line(number, timestamp=1000 + number) for number in range(3))
    ahead = line(7, timestamp=now_ms() + 86_400_000)
    bare = b'{"message": "bare"}\n'
    first = await device.send(content + ahead + bare)
    second = await device.send(content + ahead + bare)
    shown = (await fleet.get(f"/devices/{device.uuid}/logs")).json()["logs"]

    assert (first.json()["stored"], second.json()["stored"]) == (5, 1)
    assert {one["received_time"] for one in shown} == {True}


async def test_lines_older_than_what_is_kept_are_counted(fleet):
    device = await fleet.add()
    answer = await device.send(line(1, ago_s=8 * 86_400) + line(2, ago_s=6 * 86_400))

    assert (answer.json()["stored"], answer.json()["expired"]) == (1, 1)


async def test_garbage_between_lines_costs_no_line(fleet):
    device = await fleet.add()
    garbage = [
        b"\n", b"   \n", b"{\n", b"7\n", b"null\n", b'"x"\n', b"{}\n", b"\xff\xfe\n", b"[[]]\n",
        b"[" * 5000 + b"\n", b'{"message": "' + b"x" * 300_000 + b'"}\n',
    ]  # fmt: skip
    odd = {
        "message": {"a": ["\0"]}, "id": [], "timestamp": "soon", "level": 7, "source": 7, "serviceName": None,
        "containerId": "c" * 5000, "isStdErr": "yes",
    }  # fmt: skip
    content = b"".join(b + line(n) for n, b in enumerate(garbage)) + json.dumps(odd).encode()
    answer = (await device.send(content)).json()

    assert (answer["stored"], answer["refused"], answer["received"]) == (12, 9, 12)
    assert {fault["reason"] for fault in answer["faults"]} == {
        "is no JSON", "is no object", "has no message", "is longer than 262144 bytes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        (b"not a line\n", {}, "logs.unreadable"),
        (b"\x1f\x8b broken", {"Content-Encoding": "gzip"}, "request.body_invalid"),
        (gzip.compress(line(1))[:-6], {"Content-Encoding": "gzip"}, "request.body_invalid"),
        (b"", {"Content-Encoding": "gzip"}, "request.body_invalid"),
        (b"x", {"Content-Encoding": "br"}, "request.body_invalid"),
        (b"[" + b" " * 5_000_000 + b"]", {"Content-Type": "application/json"}, "request.body_too_large"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_with_the_reason(fleet, content, headers, code):
    device = await fleet.add()
    answer = await device.send(content, **headers)

    assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (400, code, code)


async def test_what_came_before_a_torn_end_is_kept_and_counted_when_it_is_sent_again(fleet):
    device = await fleet.add()
    packed = gzip.compress(b"".join(line(number) for number in range(100)))
    torn = await device.send(packed[:-3], **{"Content-Encoding": "gzip"})
    whole = await device.send(packed, **{"Content-Encoding": "gzip"})

    assert torn.status_code == 400
    assert "no line is kept twice" in torn.json()["hint"]
    assert (whole.json()["received"], await fleet.pool.fetchval("SELECT count(*) FROM device_logs")) == (
        100,
        100,
    )


async def test_a_small_body_that_unpacks_to_a_large_one_meets_the_limit_and_no_memory(pool):
    async with served(build(pool, **PATIENT, device_log_bytes_per_hour=4 * 1024 * 1024)) as fleet:
        device, other = await fleet.add(), await fleet.add()
        bomb = gzip.compress(b"\n" * 200_000_000)
        endless = gzip.compress(b'{"message": "' + b"x" * 100_000_000)
        answers = [await device.send(one, **{"Content-Encoding": "gzip"}) for one in (bomb, endless, line(1))]
        fine = await other.send(line(1))

    assert [one.json()["code"] for one in answers] == ["logs.too_many"] * 3
    assert [one.status_code for one in answers] == [429] * 3
    assert all(0 < int(one.headers["retry-after"]) <= 3700 for one in answers)
    assert answers[0].json()["fields"]["limit"] == 4 * 1024 * 1024
    assert fine.json()["stored"] == 1


async def test_more_uploads_at_once_than_there_is_room_for_are_told_to_come_again(pool):
    async with served(build(pool, **PATIENT, device_log_uploads=1)) as fleet:
        device, other = await fleet.add(), await fleet.add()
        begun, ending = asyncio.Event(), asyncio.Event()

        async def slow():
            yield line(1)
            begun.set()
            await ending.wait()
            yield line(2)

        first = asyncio.create_task(device.send(slow()))
        await begun.wait()
        refused = await sent_until(other, 503)
        ending.set()
        await first
        later = await other.send(line(1))

    assert (refused.json()["code"], later.status_code) == ("logs.busy", 200)
    assert int(refused.headers["retry-after"]) >= 2


async def sent_until(device, status, within_s=10):
    deadline = time.monotonic() + within_s
    answer = await device.send(line(1))
    while answer.status_code != status and time.monotonic() < deadline:
        answer = await device.send(line(1))
    return answer


async def test_lines_are_searched_by_service_level_text_and_time(fleet):
    device = await fleet.add()
    await device.send(
        line(1, message="started", service="web", ago_s=1000)
        + line(2, message="Disk 100% full", service="db", level="error", ago_s=500)
        + line(3, message="slow", service="db", level="warning", ago_s=100, isStdErr=True)
        + line(4, message="chatter", service="db", level="debug")
    )
    minutes_ago = "-700s"

    assert await messages(device, service="db") == ["chatter", "slow", "Disk 100% full"]
    assert await messages(device, level="warn") == ["slow", "Disk 100% full"]
    assert await messages(device, q="disk 100%") == ["Disk 100% full"]
    assert await messages(device, q="disk_100") == []
    assert await messages(device, stderr="true") == ["slow"]
    assert await messages(device, to=minutes_ago) == ["started"]
    assert await messages(device, service="db", **{"from": "-300s"}) == ["chatter", "slow"]
    assert (await fleet.get(f"/devices/{device.uuid}/logs/services")).json()["services"] == ["db", "web"]


async def test_pages_of_logs_give_each_line_once_also_those_of_one_instant(fleet):
    device = await fleet.add()
    at = now_ms()
    await device.send(b"".join(line(n, timestamp=at - n // 10) for n in range(57)))
    found, after = [], {}
    for _ in range(6):
        page = (await fleet.get(f"/devices/{device.uuid}/logs", limit=10, **after)).json()
        found += [one["message"] for one in page["logs"]]
        after = {"cursor": page["nextCursor"]}

    assert (len(found), len(set(found)), after) == (57, 57, {"cursor": None})


async def test_a_rare_text_is_found_over_several_looks_that_are_each_bounded(fleet, monkeypatch):
    monkeypatch.setattr("iotistic.control.devicelogs.service._LOOKED_AT", 100)
    device = await fleet.add()
    await device.send(
        line(0, message="needle", ago_s=3600) + b"".join(line(n, ago_s=n) for n in range(1, 250))
    )
    first = (await fleet.get(f"/devices/{device.uuid}/logs", q="needle")).json()
    second = (await fleet.get(f"/devices/{device.uuid}/logs", q="needle", cursor=first["nextCursor"])).json()
    third = (await fleet.get(f"/devices/{device.uuid}/logs", q="needle", cursor=second["nextCursor"])).json()

    assert [page["count"] for page in (first, second, third)] == [0, 0, 1]
    assert third["nextCursor"] is None


@pytest.mark.parametrize(
    "asked", [{"level": "loud"}, {"cursor": "x"}, {"limit": 0}, {"q": "\0"}, {"colour": 1}]
)
async def test_what_cannot_be_searched_is_refused(fleet, asked):
    device = await fleet.add()
    answer = await fleet.get(f"/devices/{device.uuid}/logs", **asked)

    assert answer.status_code in (400, 422)


class Follower:
    """Reads the events of a stream."""

    def __init__(self, response):
        self._lines = response.aiter_lines()

    async def take(self, count):
        found = []
        async with asyncio.timeout(20):
            async for text in self._lines:
                if text.startswith(("id: ", "data: ")):
                    found.append(text)
                if len(found) == 2 * count:
                    break
        numbers = [int(one.removeprefix("id: ")) for one in found[::2]]
        return numbers, [json.loads(one.removeprefix("data: "))["message"] for one in found[1::2]]


async def following(fleet, device, **headers):
    path = f"/devices/{device.uuid}/logs/follow?level=warn"
    named = {"Authorization": "Bearer viewer", **headers}
    return fleet.client.stream("GET", path, headers=named)


async def test_lines_are_followed_as_they_come_and_after_a_break_none_is_missed(fleet):
    device = await fleet.add()
    await device.send(line(1, level="error", message="before"))
    async with await following(fleet, device) as response:
        await device.send(line(2, level="error", message="first") + line(3, level="debug"))
        numbers, first = await Follower(response).take(1)
    await device.send(line(4, level="warn", message="second") + line(5, level="error", message="third"))
    async with await following(fleet, device, **{"Last-Event-ID": str(numbers[-1])}) as response:
        _, rest = await Follower(response).take(2)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert (first, rest) == (["first"], ["second", "third"])


async def test_lines_that_another_process_takes_are_followed_too(fleet, pool):
    device = await fleet.add()
    async with served(build(pool, **PATIENT)) as elsewhere, await following(fleet, device) as response:
        async with httpx2.AsyncClient(verify=False, base_url=elsewhere.url) as client:
            await client.post(
                f"/device/{device.uuid}/logs", content=line(1, level="error"), headers=device.headers
            )
        _, found = await Follower(response).take(1)

    assert found == ["line 1"]


async def test_followers_past_the_limit_are_told_so(pool):
    async with served(build(pool, **PATIENT, device_log_followers=1)) as fleet:
        device = await fleet.add()
        async with await following(fleet, device) as response:
            lines = response.aiter_lines()
            await anext(lines)
            refused = await fleet.get(f"/devices/{device.uuid}/logs/follow")

    assert (refused.status_code, refused.json()["code"]) == (503, "logs.too_many_followers")
