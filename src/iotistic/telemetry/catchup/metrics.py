"""Figures of the catch-up lane, in the maintenance process."""

from prometheus_client import Counter, Gauge

GRANTED = Counter("iotistic_catchup_granted_messages", "Messages that devices were granted")
STORED = Counter("iotistic_catchup_stored_messages", "Messages of backlogs that were seen stored")
GIVEN_UP = Counter("iotistic_catchup_given_up_messages", "Messages granted that were never seen stored")
REFUSED = Counter("iotistic_catchup_refusals", "Questions of devices that were refused", ["reason"])
IGNORED = Counter("iotistic_catchup_ignored", "Questions that were none", ["reason"])
UNSENT = Counter("iotistic_catchup_unsent", "Answers that the broker did not take")
FAILURES = Counter("iotistic_catchup_failures", "Times that the database could not be asked", ["code"])
WAITING = Gauge("iotistic_catchup_devices_waiting", "Devices that wait for their turn")
LEASES = Gauge("iotistic_catchup_devices_sending", "Devices that send what they were granted")
WINDOW = Gauge("iotistic_catchup_window_messages", "Messages that may be under way at once")
OUTSTANDING = Gauge("iotistic_catchup_outstanding_messages", "Messages granted and not known to be stored")
LIVE_DELAY = Gauge(
    "iotistic_catchup_live_delay_seconds", "Longest time that live readings take, through broker and worker"
)
LIVE_LIMIT = Gauge("iotistic_catchup_live_limit_seconds", "How long that may take before less is granted")
GRANTING = Gauge("iotistic_catchup_granting", "1 while this is the process that grants")
