"""What an agent has of the delivery contract, and that it is the same as what the ledger has."""

import subprocess
import sys

import pytest

from iotistic.contracts import delivery, stamps

AGENT = "0b5e7c1a-93d4-4f0e-8a51-2f6f0c6f9d11"
_WITHOUT = (
    "import sys; import iotistic.contracts.stamps; print(sorted({'msgspec', 'numpy'} & set(sys.modules)))"
)


def test_agents_and_the_ledger_speak_on_the_same_topics():
    for verb in (stamps.RESEND, stamps.RECEIPT, stamps.SIGNED_RECEIPT):
        assert stamps.agent_topic(AGENT, verb) == delivery.command_topic(f"uuid:{AGENT}", verb)
    assert delivery.reply_sender(stamps.agent_reply_topic(AGENT)) == f"uuid:{AGENT}"


def test_a_stamp_is_read_as_it_was_written():
    name, value = stamps.stamp_property(7, 9)

    assert name == stamps.SEQUENCE_PROPERTY
    assert delivery.parse_stamp(*value.encode().split(b":")) == (7, 9)
    for stamp in ((7, 9), (0, 1), (2**48 - 1, stamps.LARGEST), (1769860800000, 65_536)):
        assert stamps.parse_stamp_data(stamps.stamp_data(*stamp)) == stamp


@pytest.mark.parametrize("data", [b"", b"S", b"S" + bytes(6), b"S" + bytes(14), b"T" + bytes(8)])
def test_correlation_data_of_others_is_no_stamp(data):
    assert stamps.parse_stamp_data(data) is None


def test_the_names_come_without_the_clouds_libraries():
    found = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, check=True, text=True)

    assert found.stdout.strip() == "[]"
