"""What `iotistic up` says of the agent beside it."""

from iotistic.entrypoints.up.try_out import introduction

API = "http://127.0.0.1:3002"


def test_a_person_is_told_what_to_change_and_how_to_look():
    assert f"{API}/docs" in introduction(API, 48484)
    assert introduction(API, 48484).endswith(": iotctl status")
    assert introduction(API, 50000).endswith(": DEVICE_API_PORT=50000 iotctl status")
