"""What the ledger says to an agent, read by hand: the same as its own decoder reads, and garbage refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.link.errors import LedgerDocumentInvalid
from iotistic.agent.link.ledger_documents import read_receipt, read_request, write_answer
from iotistic.contracts import delivery
from iotistic.contracts.stamps import LARGEST

NUMBERS = st.integers(1, LARGEST)
RANGES = st.lists(st.tuples(NUMBERS, st.integers(0, 9)), max_size=100).map(
    lambda found: [(first, min(first + more, LARGEST)) for first, more in found]
)


@given(st.integers(0, LARGEST), RANGES)
def test_a_request_is_read_as_it_was_written(epoch, ranges):
    request = read_request(delivery.encode(delivery.ResendRequest(epoch, ranges)))

    assert (request.epoch, request.ranges) == (epoch, ranges)


@given(st.integers(0, LARGEST), st.integers(0, LARGEST), RANGES)
def test_a_receipt_is_read_as_it_was_written(epoch, sent, missing):
    receipt = read_receipt(delivery.encode(delivery.Confirmation(epoch, sent, missing)))

    assert (receipt.epoch, receipt.sent, receipt.missing) == (epoch, sent, missing)


WIDE = st.lists(st.tuples(NUMBERS, NUMBERS).map(lambda pair: (min(pair), max(pair))), max_size=400)


@given(st.integers(0, LARGEST), WIDE, WIDE, WIDE)
def test_an_answer_is_one_that_the_ledger_reads(epoch, again, gone, waiting):
    answer = delivery.parse_answer(write_answer(epoch, again=again, gone=gone, waiting=waiting))

    assert answer.epoch == epoch
    assert answer.again == again[: len(answer.again)]


RUBBISH = [
    b"",
    b"\xff",
    b"null",
    b"[]",
    b"{}",
    b'{"epoch": 7}',
    b'{"epoch": 7.0, "ranges": [], "sent": 1}',
    b'{"epoch": true, "ranges": [], "sent": 1}',
    b'{"epoch": -1, "ranges": [], "sent": 1}',
    b'{"epoch": 9007199254740992, "ranges": [], "sent": 1}',
    b'{"epoch": ' + b"9" * 5000 + b', "ranges": []}',
    b'{"epoch": NaN, "ranges": [], "sent": 1}',
    b'{"epoch": 7, "ranges": {}, "sent": 1, "missing": {}}',
    b'{"epoch": 7, "ranges": [1], "sent": 1, "missing": [1]}',
    b'{"epoch": 7, "ranges": [[1]], "sent": 1, "missing": [[1]]}',
    b'{"epoch": 7, "ranges": [[1, 2, 3]], "sent": 1, "missing": [[1, 2, 3]]}',
    b'{"epoch": 7, "ranges": [[0, 1]], "sent": 1, "missing": [[0, 1]]}',
    b'{"epoch": 7, "ranges": [[2, 1]], "sent": 1, "missing": [[2, 1]]}',
    b'{"epoch": 7, "ranges": [["1", "2"]], "sent": 1, "missing": [["1", "2"]]}',
    json.dumps({"epoch": 7, "sent": 1, "ranges": [[1, 1]] * 101, "missing": [[1, 1]] * 101}).encode(),
    b"[" * 16_000,
    b'{"epoch": 7, "sent": 1, "ranges": []' + b" " * 17_000 + b"}",
]


@pytest.mark.parametrize("payload", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_is_refused(payload):
    for read in (read_request, read_receipt):
        with pytest.raises(LedgerDocumentInvalid):
            read(payload)


def test_more_messages_than_a_request_may_name_are_refused():
    with pytest.raises(LedgerDocumentInvalid, match="1000"):
        read_request(b'{"epoch": 7, "ranges": [[1, 9007199254740991]]}')


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload):
    for read in (read_request, read_receipt):
        try:
            read(payload)
        except LedgerDocumentInvalid:
            continue
