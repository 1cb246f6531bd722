"""What the environment says about the cloud."""

import pytest

from iotistic.agent.provisioning.errors import RequestInvalid
from iotistic.agent.provisioning.model import DeviceFacts, base_url
from iotistic.agent.provisioning.settings import ProvisioningSettings
from iotistic.kernel.settings import load_settings


def test_nothing_set_asks_for_nothing():
    assert load_settings(ProvisioningSettings).provisioning_request() is None


@pytest.mark.parametrize("name", ["PROVISIONING_KEY", "PROVISIONING_API_KEY"])
def test_a_key_from_a_file_asks_for_provisioning(monkeypatch, tmp_path, name):
    (tmp_path / "key").write_text("k" * 64 + "\n")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("CLOUD_API_ENDPOINT", "https://cloud.example/")
    monkeypatch.setenv("DEVICE_NAME", "gate")
    monkeypatch.setenv("MAC_ADDRESS", "aa:bb:cc:dd:ee:ff")
    loaded = load_settings(ProvisioningSettings)
    request = loaded.provisioning_request().checked()

    assert (request.provisioning_key, request.api_endpoint) == ("k" * 64, "https://cloud.example/api/v1")
    assert (request.device_name, request.device_type) == ("gate", "standalone")
    assert loaded.device_facts() == DeviceFacts("aa:bb:cc:dd:ee:ff")
    assert "kkk" not in f"{loaded} {request}"


def test_a_key_without_an_endpoint_is_said(monkeypatch):
    monkeypatch.setenv("PROVISIONING_KEY", "k" * 64)
    with pytest.raises(RequestInvalid, match="endpoint"):
        load_settings(ProvisioningSettings).provisioning_request().checked()


def test_an_endpoint_with_a_path_is_taken_as_it_is():
    assert base_url("https://cloud.example/v2/") == "https://cloud.example/v2"
    assert base_url("https://cloud.example:3002") == "https://cloud.example:3002/api/v1"
