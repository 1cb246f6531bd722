"""Settings that provision a device at its first start."""

from iotistic.agent.provisioning.model import DeviceFacts, ProvisioningRequest
from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field, SecretStr


class ProvisioningSettings(Settings):
    """Which cloud, by which right, and as what. Once the device is provisioned, the disk has the last word."""

    cloud_api_endpoint: str = ""
    """Base URL of the cloud, like https://cloud.example; without a path, /api/v1 is meant. Empty: no cloud."""
    cloud_ca: str = Field(default="", repr=False)
    """Certificates (PEM) that the cloud is checked against instead of the system's; usually CLOUD_CA_FILE."""
    provisioning_key: SecretStr = SecretStr("")
    """Lets the device become known to the cloud; forgotten as soon as it is. Taken up once for each value."""
    provisioning_api_key: SecretStr = SecretStr("")
    """Another name for PROVISIONING_KEY, which wins."""
    certificate_new_keys: bool = False
    """Whether each renewal of the device's certificate makes a new private key; otherwise the first one stays."""
    device_name: str = ""
    """Name of the device in the cloud; empty makes one of the uuid."""
    device_type: str = "standalone"
    """Kind of device, for the cloud to sort by."""
    application_id: str = ""
    """Application that the device belongs to; empty for none."""
    mac_address: str = ""
    """MAC address told to the cloud; empty tells none."""
    os_version: str = ""
    """Operating system told to the cloud; empty tells none."""
    agent_version: str = ""
    """Version of the agent told to the cloud; empty tells none."""

    def provisioning_request(self) -> ProvisioningRequest | None:
        """Return what the environment asks for; None without a key."""
        key = self.provisioning_key.get_secret_value() or self.provisioning_api_key.get_secret_value()
        if not key:
            return None
        return ProvisioningRequest(
            key,
            self.cloud_api_endpoint,
            self.device_name,
            self.device_type,
            self.application_id,
            self.cloud_ca,
        )

    def device_facts(self) -> DeviceFacts:
        """Return what the device tells of itself."""
        return DeviceFacts(self.mac_address, self.os_version, self.agent_version)
