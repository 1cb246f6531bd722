"""What the product's own librdkafka does in C: read a topic, or read it and write as much as the processor does.

The second is a floor for the processor: all of Kafka's part of its work, and nothing of ours.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

from iotistic.kernel.errors import Unavailable

_SOURCE = Path(__file__).with_name("consume.c")
_FOLDER = Path(__file__).parent.parent / ".tools" / "floor"
_WITHIN_S = 300.0
_TOPIC = "floor"


class FloorMissing(Unavailable):
    """The C program cannot be had here; the message says why."""


@dataclass(frozen=True)
class Floor:
    """Records a second, and CPU seconds a million."""

    rate: float
    cpu: float


def build_floor() -> Path:
    """Compile the program against the library in confluent-kafka's wheel. Raises FloorMissing."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FloorMissing("there is no C compiler: apt-get install gcc")
    beside = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    library = next(beside.glob("librdkafka*.so*"), None)
    if library is None:
        raise FloorMissing("confluent-kafka did not bring a librdkafka of its own")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    program = _FOLDER / "consume"
    built = subprocess.run(
        [compiler, "-O2", "-o", program, _SOURCE, library, f"-Wl,-rpath,{library.parent}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if built.returncode:
        raise FloorMissing(f"the C program did not compile: {built.stderr.strip()[:200]}")
    return program


def read(servers: str, topic: str, count: int) -> Floor:
    """Read so many records. Raises FloorMissing."""
    return _run(servers, topic, str(count))


def read_and_write(servers: str, topic: str, count: int, *, compression: str, octets: int) -> Floor:
    """Read so many records and write the key and the first `octets` of each. Raises FloorMissing."""
    admin = AdminClient({"bootstrap.servers": servers})
    for made in admin.create_topics([NewTopic(_TOPIC, 6, 1)]).values():
        made.result(timeout=30)
    return _run(servers, topic, str(count), _TOPIC, compression, str(octets))


def _run(*arguments: str) -> Floor:
    ended = subprocess.run(
        [build_floor(), *arguments], capture_output=True, text=True, check=True, timeout=_WITHIN_S
    )
    rate, cpu = map(float, ended.stdout.split())
    return Floor(rate, cpu)
