"""Who is told what, and who is heard, on which topics."""

import pytest

from iotistic.contracts import delivery
from iotistic.contracts.delivery import DeliveryMessageInvalid, ResendAnswer

MAC = "aabbccddee01"
AGENT = "0b5e7c1a-93d4-4f0e-8a51-2f6f0c6f9d11"


@pytest.mark.parametrize("verb", [delivery.RESEND, delivery.RECEIPT, delivery.SIGNED_RECEIPT])
def test_devices_and_agents_are_told_on_the_topics_that_they_read(verb):
    assert delivery.command_topic(f"mac:{MAC}", verb) == f"cmnd/f2-{MAC}/{verb}"
    assert delivery.command_topic(f"uuid:{AGENT}", verb) == f"iot/device/{AGENT}/ledger/{verb}"


@pytest.mark.parametrize(
    "source",
    [
        "key:pump", "mac:", "mac:#", f"mac:{MAC}/#", "mac:AABBCCDDEE01", f"uuid:{AGENT.upper()}", "uuid:+",
        f"uuid:{AGENT}/x", f"uuid:{AGENT}\n", "uuid:" + "0" * 36, "", "mac", "pump", f"uuid:{MAC}",
    ],
)  # fmt: skip
def test_a_sender_whose_name_leads_to_no_topic_is_told_nothing(source):
    assert delivery.command_topic(source, delivery.RESEND) is None


@pytest.mark.parametrize(
    ("topic", "sender"),
    [
        (f"stat/f2-{MAC}/resend", f"mac:{MAC}"),
        (f"iot/device/{AGENT}/ledger/resend/accepted", f"uuid:{AGENT}"),
        (f"stat/f2-{MAC}/backlog", None),
        ("stat/f2-000000000000/resend", None),
        (f"iot/device/{AGENT}/ledger/resend", None),
        (f"iot/device/{AGENT}/ledger/resend/accepted/x", None),
        ("iot/device/pump/ledger/resend/accepted", None),
        (f"x/stat/f2-{MAC}/resend", None),
    ],
)
def test_who_answers_is_who_the_topic_names(topic, sender):
    assert delivery.reply_sender(topic) == sender


def test_an_answer_may_say_what_waits_for_its_turn_and_need_not():
    old = delivery.parse_answer(b'{"epoch": 7, "again": [[1, 2]], "gone": []}')
    new = delivery.parse_answer(b'{"epoch": 7, "waiting": [[3, 5]], "reason": "unknown fields are ignored"}')

    assert (old.waiting, new) == ([], ResendAnswer(7, waiting=[(3, 5)]))
    assert delivery.parse_answer(delivery.encode(new)) == new
    with pytest.raises(DeliveryMessageInvalid):
        delivery.parse_answer(b'{"epoch": 7, "waiting": [[5, 3]]}')
