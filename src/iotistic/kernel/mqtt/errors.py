"""What can go wrong between a service and the broker."""

from iotistic.kernel.errors import Denied, Unavailable


class BrokerUnavailable(Unavailable):
    """The broker does not answer."""

    code = "broker.unavailable"


class BrokerRefused(Denied):
    """The broker refused the service's user name or password."""

    code = "broker.refused"


class PublishDenied(Denied):
    """The broker refused the message."""

    code = "broker.publish_denied"


class SubscriptionDenied(Denied):
    """The broker refused the subscription."""

    code = "broker.subscription_denied"
