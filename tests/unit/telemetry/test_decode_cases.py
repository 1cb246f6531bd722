"""The corpus of messages in tests/cases/telemetry: each says what it must become."""

import json
from pathlib import Path

import pytest

from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Messages

NOW = 1_795_255_200_000_000
CASES = sorted((Path(__file__).parents[2] / "cases" / "telemetry").glob("*.json"))


def outcome(case):
    decoder = Decoder()
    decoded = decoder.decode(Messages([case["topic"].encode()], [case["payload"].encode()], NOW))
    refs = decoder.series.refs
    found = {
        "readings": sorted(
            [refs[s].label, v]
            for column in decoded.values
            for s, v in zip(column.series.tolist(), column.value.tolist(), strict=True)
        ),
        "texts": [[refs[text.series].label, text.text] for text in decoded.texts],
        "frames": sum(len(frames.data) for frames in decoded.frames),
        "dead_letter": decoded.failures[0].reason if decoded.failures else None,
    }
    return {key: value for key, value in found.items() if value}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_message_becomes_what_its_case_says(path):
    case = json.loads(path.read_text())
    expected = dict(case["expected"])
    expected |= {"readings": sorted(expected["readings"])} if "readings" in expected else {}

    assert outcome(case) == expected
