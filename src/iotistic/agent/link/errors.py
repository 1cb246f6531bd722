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


class BrokerUnusable(Invalid):
    """What is known of the broker does not suffice to connect."""

    code = "mqtt.broker_unusable"


class MqttOffline(Unavailable):
    """There is no connection to the broker."""

    code = "mqtt.offline"


class MqttUnanswered(Unavailable):
    """The broker did not answer for the message in time."""

    code = "mqtt.unanswered"


class MqttUnheard(Unavailable):
    """The broker took the message and threw it away: nobody subscribes to its topic."""

    code = "mqtt.unheard"


class MqttPublishRefused(Denied):
    """The broker refused the message."""

    code = "mqtt.publish_refused"


class MqttUnsendable(Invalid):
    """The message can be sent to no broker, or not to this one."""

    code = "mqtt.message_unsendable"


class LedgerDocumentInvalid(Invalid):
    """The document about deliveries does not have the shape that was agreed on."""

    code = "delivery.message_invalid"
