import pytest

from iotistic.contracts.backlog import (
    Ask,
    BacklogMessageInvalid,
    Grant,
    ask_topic,
    asking_device,
    encode,
    parse_ask,
    parse_grant,
)
from iotistic.contracts.mac import Mac

MAC = Mac("aabbccddee01")


def test_what_a_device_asks_is_read_as_it_was_meant() -> None:
    assert parse_ask(encode(Ask(3600))) == Ask(3600)
    assert asking_device(ask_topic(MAC)) == MAC


@pytest.mark.parametrize("grant", [Grant(100, within_s=30), Grant(0, retry_after_s=12.5, reason="full")])
def test_an_answer_is_read_as_it_was_meant(grant: Grant) -> None:
    assert parse_grant(encode(grant)) == grant


def test_an_answer_says_nothing_that_it_does_not_need() -> None:
    assert encode(Grant(100, within_s=30)) == b'{"grant":100,"within_s":30}'


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"waiting":-1}',
        b'{"waiting":1.5}',
        b'{"waiting":"9"}',
        b'{"waiting":9007199254740992}',
        b'{"waiting":NaN}',
        b'{"waiting":1,"x":"' + b"x" * 1024 + b'"}',
    ],
)
def test_garbage_is_refused(payload: bytes) -> None:
    with pytest.raises(BacklogMessageInvalid):
        parse_ask(payload)


@pytest.mark.parametrize(
    "topic",
    [
        "stat/f2-aabbccddee01/resend",
        "stat/f2-AABBCCDDEE01/backlog",
        "stat/f2-ffffffffffff/backlog/x",
        "backlog/x",
    ],
)
def test_other_topics_ask_for_nothing(topic: str) -> None:
    assert asking_device(topic) is None
