"""The programs that our figures are compared with."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from iotistic.kernel.mosquitto.server import BrokerEndpoints
from iotistic.kernel.process import die_with_parent

_SUBSCRIBED_WITHIN_S = 0.5


@dataclass
class Subscriber:
    """A running `mosquitto_sub`; `finish` waits until it has its messages."""

    process: subprocess.Popen[bytes]

    def finish(self, within_s: float) -> int:
        """Return the time (microseconds since the epoch) at which it had them all."""
        self.process.wait(within_s)
        return time.time_ns() // 1000


@contextmanager
def mosquitto_sub(endpoints: BrokerEndpoints, topic_filter: str, count: int) -> Iterator[Subscriber]:
    """Subscribe at QoS 1 for `count` messages, printing nowhere. The password goes through its option file."""
    with tempfile.TemporaryDirectory(prefix="iotistic-bench-") as folder:
        password = endpoints.service_password_file.read_text(encoding="utf-8").strip()
        options = Path(folder) / "mosquitto_sub"
        options.touch(mode=0o600)
        options.write_text(f"-u {endpoints.service_username}\n-P {password}\n", encoding="utf-8")
        process = subprocess.Popen(
            ["mosquitto_sub", "-h", endpoints.service_host, "-p", str(endpoints.service_port),
             "-q", "1", "-t", topic_filter, "-C", str(count)],
            env={**os.environ, "XDG_CONFIG_HOME": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - it would reconnect for ever after us
        )  # fmt: skip
        try:
            time.sleep(_SUBSCRIBED_WITHIN_S)  # it prints nothing that would say when it is subscribed
            yield Subscriber(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
