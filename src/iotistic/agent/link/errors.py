"""How talking to the cloud goes wrong, by what the device can do about it."""

from iotistic.kernel.errors import Denied, Invalid, Unavailable


class CloudUnavailable(Unavailable):
    """The cloud does not answer."""

    code = "cloud.unavailable"


class CloudDenied(Denied):
    """The cloud does not accept this device's key."""

    code = "cloud.denied"


class CloudRefused(Invalid):
    """The cloud does not take what it was sent."""

    code = "cloud.refused"


class CloudUnintelligible(Unavailable):
    """The cloud answered something that cannot be read."""

    code = "cloud.unintelligible"
