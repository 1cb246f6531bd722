"""What the device API says of anomalies, and refuses."""

import contextlib
from dataclasses import replace

import pytest
from device_rig import DeviceRig

from iotistic.agent.anomalies.config import AnomalyConfig
from iotistic.agent.anomalies.watching import Around, open_watch


class WatchedRig(DeviceRig):
    """A device with a watch that nobody runs: what is asked of it needs no task."""

    def _parts(self):
        return replace(super()._parts(), anomalies=self.watch)

    async def _assemble(self, store):
        self.watch = await open_watch(store, Around(lambda: 1.8e9), AnomalyConfig())
        await super()._assemble(store)


@pytest.fixture
async def device(tmp_path):
    async with WatchedRig(tmp_path).running() as rig:
        yield rig


async def test_anomalies_are_listed_shown_and_judged(device):
    nothing = await device.ask("GET", "/v2/anomalies")
    made = (await device.ask("POST", "/v1/test/anomaly", {"metric": "pump"})).body["anomaly"]
    listed = await device.ask("GET", "/v2/anomalies?lines=1")
    shown = await device.ask("GET", f"/v2/anomalies/{made['id'][:9]}")
    judged = await device.ask("POST", f"/v2/anomalies/{made['id']}/feedback", {"verdict": "wrong"})
    metrics = await device.ask("GET", "/v2/anomalies/metrics")

    assert (nothing.body["count"], nothing.body["anomalies"]) == (0, [])
    assert listed.body["anomalies"] == [made]
    assert shown.body == made
    assert judged.body["anomaly"] == {**made, "feedback": "wrong"}
    assert metrics.body["metrics"] == []
    assert metrics.body["watch"]["feedback"] == {"expected": 0, "wrong": 1}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v2/anomalies/zz", None, 404, "anomalies.unknown"),
        ("POST", "/v2/anomalies/zz/feedback", {"verdict": "wrong"}, 404, "anomalies.unknown"),
        ("POST", "/v2/anomalies/zz/feedback", {}, 400, "request.invalid"),
        ("POST", "/v2/anomalies/zz/feedback", {"verdict": "fine"}, 400, "request.invalid"),
        ("POST", "/v2/anomalies/zz/feedback", {"verdict": ["wrong"]}, 400, "request.invalid"),
        ("POST", "/v2/anomalies/zz/feedback", {"verdict": "wrong", "why": "x"}, 400, "request.invalid"),
        ("GET", "/v2/anomalies?lines=0", None, 400, "request.invalid"),
        ("POST", "/v1/test/anomaly", {"value": "x"}, 400, "anomalies.request_invalid"),
        ("PUT", "/v2/anomalies", None, 405, "http.method_not_allowed"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_code(device, method, path, body, status, code):
    answer = await device.ask(method, path, body)

    assert (answer.status, answer.body["code"]) == (status, code)


async def test_two_that_begin_alike_are_a_conflict_and_off_is_one_too(device):
    for metric in ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"):
        await device.ask("POST", "/v1/test/anomaly", {"metric": metric})
    ids = [one["id"] for one in (await device.ask("GET", "/v2/anomalies")).body["anomalies"]]
    shared = next(id_[0] for id_ in ids if sum(other[0] == id_[0] for other in ids) > 1)
    ambiguous = await device.ask("GET", f"/v2/anomalies/{shared}")
    device.watch.configure(here=AnomalyConfig(replace(AnomalyConfig().rules, enabled=False)))
    off = await device.ask("POST", "/v1/test/anomaly", {})

    assert (ambiguous.status, ambiguous.body["code"]) == (409, "anomalies.ambiguous")
    assert (off.status, off.body["code"]) == (409, "anomalies.detection_off")


async def test_an_agent_without_a_watch_says_so(tmp_path):
    rig = DeviceRig(tmp_path)
    rig._parts = lambda: replace(DeviceRig._parts(rig), anomalies=None)
    async with rig.running() as device:
        for path in ("/v2/anomalies", "/v2/anomalies/metrics", "/v2/anomalies/x"):
            answer = await device.ask("GET", path)
            assert (answer.status, answer.body["code"]) == (501, "device_api.not_possible")


async def test_followers_are_few(device):
    async with contextlib.AsyncExitStack() as following:
        import aiohttp

        session = await following.enter_async_context(aiohttp.ClientSession())
        for _ in range(16):
            answer = await following.enter_async_context(
                session.get(device.url + "/v2/anomalies?follow=true")
            )
            assert answer.status == 200
        refused = await device.ask("GET", "/v2/anomalies?follow=true")

    assert (refused.status, refused.body["code"]) == (503, "device_api.too_many_followers")
