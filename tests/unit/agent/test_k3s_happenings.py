"""What is told of pods, as events of containers."""

import pytest

from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.happenings import PodEar
from iotistic.agent.engines.k3s.watching import What, Word
from iotistic.agent.engines.port import Change, Event
from iotistic.planning.model import ServiceKey

KEY = ServiceKey("7", "1")
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
ENDED = {"terminated": {"exitCode": 3}}


def pod(state=None, *, restarts=0, last=None, leaving=False, uid="1"):
    metadata = {
        "name": "web-0-a",
        "uid": uid,
        "labels": {names.CONTAINER: "web-0"},
        "annotations": {names.APP_ID: "7", names.SERVICE_ID: "1"},
    }
    metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {}
    said = {"name": "main", "state": state or {}, "restartCount": restarts, "lastState": last or {}}
    return {"metadata": metadata, "status": {"containerStatuses": [said]}}


def heard(*words):
    ear = PodEar()
    events = []
    for word in (Word(What.LISTED, []), *words):
        events += ear.hear(word)
    return [(event.change, event.exit_code, event.by_order) for event in events]


def changed(*args, **more):
    return Word(What.CHANGED, [pod(*args, **more)])


STARTED = (Change.STARTED, None, False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([changed(), changed(RUNNING)], [STARTED]),
        ([changed(RUNNING), changed(RUNNING)], [STARTED]),
        ([changed(RUNNING), changed(ENDED)], [STARTED, (Change.ENDED, 3, False)]),
        ([changed(ENDED)], [STARTED, (Change.ENDED, 3, False)]),
        (
            [changed(RUNNING), changed(RUNNING, restarts=1, last=ENDED)],
            [STARTED, STARTED, (Change.ENDED, 3, False)],
        ),
        (
            [changed(RUNNING), changed(RUNNING, leaving=True), changed(ENDED, leaving=True)],
            [STARTED, (Change.OTHER, None, False), (Change.ENDED, 3, True)],
        ),
        (
            [changed(RUNNING), Word(What.DELETED, [pod(RUNNING)])],
            [STARTED, (Change.ENDED, None, True)],
        ),
        (
            [changed(RUNNING), changed(ENDED), Word(What.DELETED, [pod(ENDED)])],
            [STARTED, (Change.ENDED, 3, False), (Change.OTHER, None, False)],
        ),
        ([changed(RUNNING), Word(What.LISTED, [])], [STARTED, (Change.ENDED, None, True)]),
        ([changed(RUNNING), Word(What.LISTED, [pod(ENDED)])], [STARTED, (Change.ENDED, 3, False)]),
        ([changed(RUNNING), Word(What.LISTED, [pod(RUNNING)])], [STARTED]),
    ],
)
def test_a_start_and_an_end_are_heard_once(words, expected):
    assert heard(*words) == expected


def test_what_was_before_is_not_news():
    ear = PodEar()

    assert [*ear.hear(Word(What.LISTED, [pod(RUNNING)]))] == []
    assert [*ear.hear(changed(ENDED))] == [Event(Change.ENDED, "web-0", KEY, 3)]


def test_pods_of_others_are_not_heard():
    theirs = {"metadata": {"name": "a", "uid": "9"}, "status": {}}

    assert heard(Word(What.CHANGED, [theirs]), Word(What.DELETED, [theirs])) == []
