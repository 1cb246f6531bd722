"""What an agent has of the delivery contract, and that it is the same as what the ledger has."""

import subprocess
import sys

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
    ((name, value),) = stamps.stamp_properties(7, 9)

    assert name == stamps.SEQUENCE_PROPERTY
    assert delivery.parse_stamp(*value.encode().split(b":")) == (7, 9)


def test_the_names_come_without_the_clouds_libraries():
    found = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, check=True, text=True)

    assert found.stdout.strip() == "[]"
