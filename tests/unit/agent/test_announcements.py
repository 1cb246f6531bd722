"""What counts as an announcement, without a broker."""

import pytest
from structlog.testing import capture_logs

from iotistic.agent.link.announcements import Announcements, Concerned

UUID = "6f1c0000-0000-4000-8000-000000000001"
UPDATE = f"iot/device/{UUID}/agent/update"


class Link:
    """A link that says what it is told to."""

    def __init__(self):
        self.handlers = {}

    def on(self, topic_filter, handler):
        self.handlers[topic_filter] = handler

    def watch(self, watcher):
        """Nothing comes or goes here."""


@pytest.mark.parametrize(("payload", "events"), [(b"", []), (b"[]", ["announcement.refused"])])
def test_a_retained_order_that_is_taken_back_is_not_taken_for_a_broken_one(payload, events):
    link, heard = Link(), []
    Announcements(link, UUID, Concerned(lambda: None, update=heard.append))
    with capture_logs() as logs:
        link.handlers[UPDATE](UPDATE, payload)

    assert [one["event"] for one in logs] == events
    assert heard == []
