"""What iotctl says to people, without an agent: misspelt verbs, answers of somebody else, faults in tables."""

import asyncio
import json

import pytest

from iotistic.entrypoints.iotctl import device, provision
from iotistic.entrypoints.iotctl.asking import service_rows
from iotistic.entrypoints.iotctl.client import AnswerNotUnderstood, DeviceApiClient
from iotistic.entrypoints.iotctl.main import main
from iotistic.entrypoints.iotctl.settings import IotctlSettings, Place, place_of
from iotistic.kernel.errors import Denied, Unavailable

SERVICE = {"serviceId": 3, "serviceName": "web", "appName": "shop", "state": "running", "status": "running"}

DEVICE = {
    "deviceName": "porch",
    "uuid": "u",
    "provisioned": True,
    "apiEndpoint": "https://cloud.example/api/v1",
    "agentVersion": "1",
    "engine": "docker",
    "engineAway": None,
    "settled": True,
}


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (
            "services strat web",
            "there is no `iotctl services strat`",
            "did you mean `iotctl services start`?",
        ),
        ("apps --json pause shop", "there is no `iotctl apps pause`", "there are list, info, start"),
        ("config gett X", "there is no `iotctl config gett`", "did you mean `iotctl config get`?"),
        ("services list a b", "too many words: b", "see `iotctl services list --help`"),
        ("services start", "parameter NAME requires", "see `iotctl services start --help`"),
    ],
)
def test_words_that_cannot_be_understood_are_told_with_what_was_meant(capsys, arguments, said, hint):
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())

    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert hint in err


def answer(place, status, content):
    async def asked():
        async with DeviceApiClient(place) as client:
            return client._answer(status, content)

    return asyncio.run(asked())


def test_whoever_answers_without_being_an_agent_is_told_as_such():
    with pytest.raises(AnswerNotUnderstood, match="is not the device API"):
        answer(Place("http://127.0.0.1:8080", ""), 404, b"<h1>not found</h1>")


def test_a_key_that_is_refused_is_told_with_where_it_is_from(tmp_path):
    (tmp_path / "device-api.key").write_text("of-another-agent")
    place = place_of(IotctlSettings(config_dir=tmp_path))

    with pytest.raises(Denied) as refused:
        answer(place, 401, json.dumps({"detail": "the key is wrong"}).encode())
    assert str(tmp_path / "device-api.key") in refused.value.hint
    assert "CONFIG_DIR" in refused.value.hint
    assert "of-another-agent" not in refused.value.hint


def test_tables_say_what_kind_of_fault_it_is_and_what_probes_say():
    error = {"type": "ErrImagePull", "message": "no such image"}
    failing, waiting, serving = service_rows(
        [SERVICE | {"error": error}, SERVICE | {"health": "not-ready"}, SERVICE | {"health": "ready"}]
    )

    assert failing["error"] == "ErrImagePull"
    assert (waiting["status"], serving["status"]) == ("running, not-ready", "running")


def test_what_stands_in_the_way_of_provisioning_is_shown_and_when_it_is_tried_again(capsys, monkeypatch):
    found = {"provisioned": False, "problem": "no answer", "nextTryAt": "2026-01-01T00:00:00.000Z"}
    monkeypatch.setattr(provision, "ask", lambda *_asked: found)
    provision.status()

    out = capsys.readouterr().out
    assert "no answer" in out
    assert "2026-01-01T00:00:00.000Z" in out


def test_a_cloud_that_is_away_is_tried_again_and_a_person_is_told_so(monkeypatch):
    def away(*_asked, **_options):
        raise Unavailable("no answer", code="cloud.unavailable")

    monkeypatch.setattr(provision, "ask", away)

    with pytest.raises(Unavailable) as told:
        provision.provision("key")
    assert "tried again" in told.value.hint


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({}, 0, "settled      yes"),
        ({"health": "starting"}, 0, "running, starting"),
        ({"health": "not-ready"}, 1, "no, see `iotctl plan`"),
        ({"error": {"type": "StartFailure", "message": "no such program"}}, 1, "\nweb: no such program"),
    ],
)
def test_a_device_is_well_when_nothing_fails_and_no_probe_complains(capsys, monkeypatch, fields, code, said):
    answers = {
        "/v1/device": DEVICE,
        "/v1/services": {"services": [SERVICE | fields]},
        "/v2/connection/health": {"reach": "offline"},
    }
    monkeypatch.setattr(device, "ask", lambda _method, path: answers[path])

    assert device.status() == code
    out = capsys.readouterr().out
    assert said in out
    assert "https://cloud.example/api/v1, offline" in out
