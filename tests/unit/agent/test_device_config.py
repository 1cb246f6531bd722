"""What the cloud wishes of the agent itself."""

from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.device_config import DeviceConfig, read_device_config

WISHES = {
    "logging": {"level": "warn", "enableRemoteLogging": False, "enableFilePersistence": True},
    "features": {"enableDeviceJobs": True, "enableDeviceSensorPublish": False, "enableDeviceRemoteAccess": False},
    "settings": {"metricsIntervalMs": 30000, "deviceReportIntervalMs": 60000, "firewallMode": "off"},
    "sensors": [{"name": "pump"}],
}  # fmt: skip


def test_every_wish_is_read_and_those_of_others_are_left_to_them():
    assert read_device_config({"config": WISHES}) == (
        DeviceConfig(30, 60, remote_logging=False, log_files=True, log_level="warning", jobs=True,
                     sensor_publish=False),
        [],
    )  # fmt: skip


def test_without_wishes_the_settings_of_the_device_hold():
    assert read_device_config({}) == (DeviceConfig(), [])


def test_a_wish_that_makes_no_sense_is_told_and_the_others_come_true():
    config, faults = read_device_config(
        {
            "config": {
                "settings": {"metricsIntervalMs": 5},
                "features": {"enableDeviceJobs": True},
                "logging": 7,
            }
        }
    )

    assert config == DeviceConfig(jobs=True)
    assert sorted(fault.path for fault in faults) == ["config.logging", "config.settings.metricsIntervalMs"]


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one))  # fmt: skip


@given(st.dictionaries(st.sampled_from(["logging", "features", "settings", "x"]), JSON) | JSON)
def test_garbage_is_no_reason_to_fail(config):
    read_device_config({"config": config})
