"""MQTT 5 packets as bytes, without I/O: the one place to import the codec from.

Used where an ordinary client costs too much: thousands of devices in one process, bulk readers and
benchmarks. Bytes out are made in `encoding`, bytes in are read by `reader`, `model` names the packets.
"""

from iotistic.kernel.mqtt.encoding import (
    encode_connect,
    encode_disconnect,
    encode_pingreq,
    encode_puback,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)
from iotistic.kernel.mqtt.fields import ProtocolError
from iotistic.kernel.mqtt.model import (
    Connack,
    Disconnect,
    Packet,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Unsuback,
    Will,
)
from iotistic.kernel.mqtt.reader import PacketReader

__all__ = [
    "Connack",
    "Disconnect",
    "Packet",
    "PacketReader",
    "Pingresp",
    "ProtocolError",
    "Puback",
    "Publish",
    "Suback",
    "Unsuback",
    "Will",
    "encode_connect",
    "encode_disconnect",
    "encode_pingreq",
    "encode_puback",
    "encode_publish",
    "encode_subscribe",
    "encode_unsubscribe",
]
