"""What `iotistic up` says of the agent beside it."""

from iotistic.entrypoints.up.try_out import introduction
from iotistic.kernel.home import Home


def test_a_person_is_told_which_file_to_change_and_how_to_look(tmp_path):
    home = Home(tmp_path)

    assert str(tmp_path / "agent/target.json") in introduction(home, 48484)
    assert introduction(home, 48484).endswith(": iotctl status")
    assert introduction(home, 50000).endswith(": DEVICE_API_PORT=50000 iotctl status")
