"""What an operator may tell our own broker."""

from iotistic.kernel.settings import Settings


class BrokerLogSettings(Settings):
    """Log of our own broker."""

    broker_debug_lines: bool = False
    """Whether the broker writes its debug lines, which name each publish that the access rules refuse. They cost
    it a quarter of its rate: four lines a message. A device that speaks MQTT 5 is told of a refusal anyway."""
