"""Polls and reports that are answered in front of the app, beside their routes: no difference but the time."""

import asyncio
import contextlib
import gzip
import json
import socket
from datetime import timedelta

import device_cloud
import httpx2
import pytest
from device_cloud import BASE, Device

from iotistic.control.audit.events import EventLog
from iotistic.control.states.express import ExpressStates
from iotistic.control.states.together import StatesTogether
from iotistic.kernel.web.middleware import REQUESTS
from iotistic.kernel.web.server import serve

FIGURES = {"is_online": True, "version": 1, "cpu_usage": 12.5, "note": "größer 🚀"}


class Noticing:
    """A witness that remembers what the short way answered."""

    def __init__(self):
        self.polls, self.reports = [], []

    def polled(self, uuid):
        self.polls.append(uuid)

    async def reported(self, uuid, fields, at):
        assert at.tzinfo
        self.reports.append((uuid, fields))


@pytest.fixture
async def cloud(pool):
    cloud = device_cloud.build(pool)
    cloud.states._events = events = EventLog()
    cloud.witness = Noticing()
    together = StatesTogether(pool, cloud.witness, events=events, clock=cloud.clock)
    front = ExpressStates(cloud.app, together=together, base=BASE)
    async with contextlib.AsyncExitStack() as stack:
        plain = await stack.enter_async_context(await serve(cloud.app, host="127.0.0.1", port=0))
        quick = await stack.enter_async_context(await serve(cloud.app, host="127.0.0.1", port=0, front=front))
        cloud.plain, cloud.quick = [
            await stack.enter_async_context(
                httpx2.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{one.port}{BASE}", timeout=30)
            )
            for one in (plain, quick)
        ]
        cloud.port, cloud.client = quick.port, cloud.quick
        yield cloud


@pytest.fixture
async def device(cloud):
    device = Device(cloud, await cloud.key())
    await device.provision()
    return device


def told(answer):
    """What an answer says, but for its moment and its name."""
    passing = {"date", "x-request-id"}
    return (
        answer.status_code,
        {name: value for name, value in answer.headers.items() if name not in passing},
        answer.content,
    )


async def both(cloud, method, path, **asked):
    """Ask both ways; return the answers."""
    return [told(await client.request(method, path, **asked)) for client in (cloud.quick, cloud.plain)]


def body_of(device, fields):
    return json.dumps({device.uuid: fields}).encode()


async def etag_of(device):
    return (await device.poll()).headers["etag"]


async def test_a_poll_that_finds_nothing_new_is_answered_alike_both_ways(cloud, device):
    etag = await etag_of(device)
    headers = {**device.headers, "If-None-Match": f'"other", W/"{etag}"'}
    quick, plain = await both(cloud, "GET", f"/device/{device.uuid}/state", headers=headers)

    assert quick == plain
    assert quick[0] == 304
    assert cloud.witness.polls == [device.uuid]


async def test_both_ways_are_counted_under_the_same_name(cloud, device):
    await device.report(FIGURES)
    polls = REQUESTS.labels("GET", f"{BASE}/device/{{uuid}}/state", 304)
    reports = REQUESTS.labels("PATCH", f"{BASE}/device/state", 200)
    headers = {**device.headers, "If-None-Match": await etag_of(device)}
    before = [polls._value.get(), reports._value.get()]
    await both(cloud, "GET", f"/device/{device.uuid}/state", headers=headers)
    await both(cloud, "PATCH", "/device/state", headers=headers, content=body_of(device, FIGURES))

    assert [polls._value.get(), reports._value.get()] == [one + 2 for one in before]


async def test_a_request_is_called_what_its_sender_calls_it(cloud, device):
    named = {**device.headers, "If-None-Match": await etag_of(device), "X-Request-ID": "poll-0815"}
    answer = await cloud.quick.get(f"/device/{device.uuid}/state", headers=named)

    assert answer.headers["x-request-id"] == "poll-0815"
    assert cloud.witness.polls


async def test_a_new_target_is_given(cloud, device):
    etag = await etag_of(device)
    await cloud.states.set_target(device.uuid, {"apps": {}, "config": {"a": 1}}, by="test")
    await cloud.states.deploy(device.uuid, by="test")
    headers = {**device.headers, "If-None-Match": etag}
    quick, plain = await both(cloud, "GET", f"/device/{device.uuid}/state", headers=headers)

    assert quick == plain
    assert quick[0] == 200
    assert not cloud.witness.polls


@pytest.mark.parametrize(
    ("key", "status"), [("wrong" * 8, 401), ("", 401), ("\xe9" * 40, 401)], ids=["wrong", "none", "foreign"]
)
async def test_a_poll_without_a_good_key_is_refused_alike_both_ways(cloud, device, key, status):
    headers = {"If-None-Match": await etag_of(device), "X-Device-API-Key": key.encode("latin-1")}
    quick, plain = await both(cloud, "GET", f"/device/{device.uuid}/state", headers=headers)

    assert quick == plain
    assert quick[0] == status


async def test_the_key_of_another_device_opens_nothing(cloud, device):
    other = Device(cloud, await cloud.key())
    await other.provision()
    etag = await etag_of(device)
    polled = await cloud.quick.get(
        f"/device/{device.uuid}/state", headers={**other.headers, "If-None-Match": etag}
    )
    reported = await cloud.quick.patch(
        "/device/state", content=body_of(device, FIGURES), headers=other.headers
    )

    assert (polled.status_code, reported.status_code) == (401, 401)
    assert await cloud.count("device_states") == 0


async def test_a_key_is_refused_once_its_grace_period_is_over(cloud, device):
    etag = await etag_of(device)
    await cloud.devices.rotate(device.uuid)
    before = await device.poll(etag)
    cloud.clock.ahead = timedelta(days=8)
    after = await device.poll(etag)

    assert (before.status_code, after.status_code) == (304, 401)
    assert cloud.witness.polls == [device.uuid]


async def test_a_device_that_is_switched_off_is_refused(cloud, device):
    etag = await etag_of(device)
    await cloud.pool.execute("UPDATE fleet_devices SET is_active = false")
    headers = {**device.headers, "If-None-Match": etag}
    for method, path, asked in (
        ("GET", f"/device/{device.uuid}/state", {"headers": headers}),
        ("PATCH", "/device/state", {"headers": headers, "content": body_of(device, FIGURES)}),
    ):
        quick, plain = await both(cloud, method, path, **asked)
        assert quick == plain
        assert quick[0] == 403


async def test_reports_are_stored_alike_both_ways(cloud, device):
    await device.report(FIGURES)
    usual = {"is_online": True, "version": 1, "cpu_usage": 90, "list": [1, None, {"a": "b"}]}
    quick, plain = await both(
        cloud, "PATCH", "/device/state", headers=device.headers, content=body_of(device, usual)
    )
    found = (await cloud.states.current(device.uuid)).fields

    assert quick == plain
    assert quick[0] == 200
    assert found == FIGURES | usual
    assert cloud.witness.reports == [(device.uuid, usual)]


@pytest.mark.parametrize("packing", ["gzip", "x-gzip", "GZIP"])
async def test_a_packed_report_is_unpacked(cloud, device, packing):
    await device.report(FIGURES)
    packed = gzip.compress(body_of(device, {"is_online": True, "cpu_usage": 77}))
    answer = await cloud.quick.patch(
        "/device/state", content=packed, headers={**device.headers, "Content-Encoding": packing}
    )

    assert answer.json() == {"status": "ok"}
    assert (await cloud.states.current(device.uuid)).fields["cpu_usage"] == 77
    assert len(cloud.witness.reports) == 1


async def test_what_changes_the_state_goes_by_itself_and_makes_an_event(cloud, device):
    await device.report(FIGURES)
    await device.report(FIGURES | {"version": 2})
    await device.report(FIGURES | {"version": 2, "cpu_usage": 3})
    changes = await cloud.pool.fetch("SELECT data FROM events WHERE event_type = 'current_state.updated'")

    assert len(changes) == 2
    assert (await cloud.states.current(device.uuid)).fields["version"] == 2
    assert [fields["cpu_usage"] for _, fields in cloud.witness.reports] == [3]


STRANGE = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b'{"a": {}}',
    b'{"UUID": 5}',
    b'{"UUID": null}',
    b'{"UUID": {"a": NaN}}',
    b'{"UUID": {"a": "\\u0000"}}',
    b'{"UUID": {"a": "\\ud800"}}',
    b'{"UUID": {"a": 1e999}}',
    b'{"UUID": {"a": "\xff"}}',
    b'{"UUID": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
    b'{"UUID": {"a": ' + b"9" * 5000 + b"}}",
    b'{"UUID": {}, "11111111-1111-4111-8111-111111111111": {}}',
    b'{"UUID": {"a": 1}, "UUID": {"a": 2}}',
    b'{"UUID": {"a": 1, "a": 2}}',
    b'\xef\xbb\xbf{"UUID": {"a": 1}}',
]


async def test_strange_reports_meet_the_same_answer_both_ways(cloud, device):
    await device.report(FIGURES)
    for content in STRANGE:
        said = content.replace(b"UUID", device.uuid.encode())
        quick, plain = await both(cloud, "PATCH", "/device/state", headers=device.headers, content=said)

        assert quick == plain, said[:100]
        assert quick[0] < 500


@pytest.mark.parametrize("packing", ["gzip", "br", "deflate"])
async def test_bodies_that_are_not_packed_as_they_say_are_refused_alike(cloud, device, packing):
    headers = {**device.headers, "Content-Encoding": packing}
    quick, plain = await both(
        cloud, "PATCH", "/device/state", headers=headers, content=body_of(device, FIGURES)
    )

    assert quick == plain
    assert quick[0] == 400


async def test_a_report_in_pieces_is_taken(cloud, device):
    async def pieces():
        yield f'{{"{device.uuid}": '.encode()
        yield b'{"is_online": true, "cpu_usage": 5}}'

    answer = await cloud.quick.patch("/device/state", content=pieces(), headers=device.headers)

    assert answer.status_code == 200
    assert (await cloud.states.current(device.uuid)).fields["cpu_usage"] == 5


async def test_one_report_that_cannot_be_stored_keeps_nobody_elses_from_being_stored(cloud):
    key = await cloud.key(max_uses=100)
    devices = [Device(cloud, key) for _ in range(12)]
    for one in devices:
        await one.provision()
        assert (await one.report(FIGURES)).status_code == 200
    bad = devices[5]
    said = [
        one.report({"is_online": True, "cpu_usage": n}) for n, one in enumerate(devices) if one is not bad
    ]
    refused, *answers = await asyncio.gather(bad.report({"is_online": True, "a": "\0"}), *said)
    stored = [(await cloud.states.current(one.uuid)).fields["cpu_usage"] for one in devices if one is not bad]

    assert refused.status_code == 400
    assert {one.status_code for one in answers} == {200}
    assert stored == [n for n, one in enumerate(devices) if one is not bad]


async def test_a_row_that_somebody_holds_does_not_hold_the_others(cloud):
    key = await cloud.key(max_uses=100)
    held, free = Device(cloud, key), Device(cloud, key)
    for one in (held, free):
        await one.provision()
        await one.report(FIGURES)
    async with cloud.pool.acquire() as db, db.transaction():
        await db.execute(
            "SELECT 1 FROM device_states WHERE device_uuid = $1::text::uuid FOR UPDATE", held.uuid
        )
        waiting = asyncio.create_task(held.report({"is_online": True, "cpu_usage": 1}))
        async with asyncio.timeout(10):
            answers = [await free.report({"is_online": True, "cpu_usage": n}) for n in range(3)]
        assert not waiting.done()
    assert (await waiting).status_code == 200
    assert {one.status_code for one in answers} == {200}


async def test_a_poll_from_a_page_in_a_browser_goes_through_the_app(cloud, device):
    headers = {**device.headers, "If-None-Match": await etag_of(device), "Origin": "https://x.example"}
    answer = await cloud.quick.get(f"/device/{device.uuid}/state", headers=headers)

    assert answer.status_code == 304
    assert not cloud.witness.polls


async def test_a_head_without_end_is_refused(cloud):
    def pour():
        with socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            with contextlib.suppress(OSError):
                for _ in range(100):
                    connection.sendall(b"X-Long: " + b"a" * 8000 + b"\r\n")
            with contextlib.suppress(OSError):
                return connection.recv(100)
            return b"reset"

    assert (await asyncio.to_thread(pour))[:12] in (b"HTTP/1.1 400", b"reset")


async def test_large_bodies_after_a_short_head_are_no_long_head(cloud, device):
    content = body_of(device, {"is_online": True, "text": "a" * 1_500_000})
    answers = [
        await cloud.quick.patch("/device/state", content=content, headers=device.headers) for _ in range(3)
    ]

    assert {one.status_code for one in answers} == {200}
