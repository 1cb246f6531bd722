"""How provisioning ends for good; whatever may pass is one of the link's errors, and is tried again.

A refusal stands until somebody asks again, with another key or after something was changed in the cloud.
"""

from iotistic.kernel.errors import Conflict, Denied, Invalid, Unavailable


class ProvisioningKeyRefused(Denied):
    """The cloud does not accept the provisioning key: it is wrong, used up, expired or revoked."""

    code = "provisioning.key_refused"


class DeviceLimitReached(Conflict):
    """The cloud's plan allows no more devices."""

    code = "provisioning.device_limit"


class DeviceTaken(Conflict):
    """The cloud knows a device of this uuid, with keys that are not ours."""

    code = "provisioning.device_taken"


class ProvisioningRejected(Invalid):
    """The cloud does not take the registration as it is."""

    code = "provisioning.rejected"


Refusal = ProvisioningKeyRefused | DeviceLimitReached | DeviceTaken | ProvisioningRejected
REFUSALS = (ProvisioningKeyRefused, DeviceLimitReached, DeviceTaken, ProvisioningRejected)


class AlreadyProvisioned(Conflict):
    """The device is provisioned already; deprovision it first."""

    code = "provisioning.already_provisioned"


class RequestInvalid(Invalid):
    """The request to provision has faults."""

    code = "provisioning.request_invalid"


class DiskNotKept(Unavailable):
    """The agent's disk takes no writes: keys would be lost, and the cloud would know a device that is no more."""

    code = "provisioning.disk_not_kept"
