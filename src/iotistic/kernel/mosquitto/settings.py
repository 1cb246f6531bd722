"""What an operator may tell our own broker, and those who share its folder."""

from iotistic.kernel.settings import Settings


class BrokerLogSettings(Settings):
    """Log of our own broker."""

    broker_debug_lines: bool = False
    """Whether the broker writes its debug lines, which name each publish that the access rules refuse. They cost
    it a quarter of its rate: four lines a message. A device that speaks MQTT 5 is told of a refusal anyway."""


class BrokerFolderSettings(Settings):
    """Where our own broker is seen from a process that writes into its folder."""

    broker_watches_folder: bool = False
    """Whether the broker runs out of our sight, such as in another container, and shares its folder with us,
    instead of being a child of `up`."""
