"""Telegraf, which a user would take for the way from MQTT into PostgreSQL, at least once.

    Mosquitto -> inputs.mqtt_consumer (QoS 1, persistent session) -> outputs.postgresql (COPY)

What it is given, and why:
- `max_undelivered_messages` far above its default of 1,000, so that batches fill and the broker's window of
  20,000 is used; batches of 5,000 rows. Tried on two cores: 1,000 to 10,000 rows a batch, tags as foreign keys,
  and two connections; its CPU per row stayed within 10 %, and this was among the lowest.
- A table with the columns of ours, made beforehand: no column is added while it is measured. It has no key, since
  one message that is repeated would then fail a whole batch. So it does less than our sink: nothing is looked up,
  nothing is indexed, and repeats are stored twice.
- Topics are taken apart by its own topic parsing; payloads by its JSON parser, which leaves texts out.
- No processors, aggregators or further metrics; a host name is left out; logs only say what went wrong.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from benchmarks.installation import Installation
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.pool import open_connection
from iotistic.kernel.process import die_with_parent

FAMILY = "probes"
"""First level of its topics: as long as `sensor`, and nothing that our worker subscribes to."""
BATCH = 5000
"""Rows of one COPY; loads of a multiple of it end with a full batch."""

_SCRIPT = Path(__file__).parent.parent / "scripts" / "fetch_telegraf.py"
_BUILD_WITHIN_S = 1200
_STILL_S = 0.4
_POLL_S = 0.02
_TABLE = f"""CREATE TABLE {FAMILY} (
    time timestamptz NOT NULL, device text NOT NULL, datapoint text NOT NULL, value double precision NOT NULL)"""
_CONFIG = f"""\
[agent]
  interval = "1s"
  flush_interval = "200ms"
  metric_batch_size = {BATCH}
  metric_buffer_limit = 200000
  omit_hostname = true
  quiet = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://$MQTT_SERVER"]
  username = "$MQTT_USERNAME"
  password = "$MQTT_PASSWORD"
  topics = ["{FAMILY}/+/+"]
  topic_tag = ""
  qos = 1
  client_id = "telegraf"
  persistent_session = true
  max_undelivered_messages = 100000
  data_format = "json"
  json_time_key = "timestamp"
  json_time_format = "2006-01-02T15:04:05.999999Z"
  [[inputs.mqtt_consumer.topic_parsing]]
    topic = "{FAMILY}/+/+"
    measurement = "measurement/_/_"
    tags = "_/device/datapoint"
[[outputs.postgresql]]
  connection = "$DATABASE"
  timestamp_column_type = "timestamp with time zone"
"""


class TelegrafMissing(Unavailable):
    """Telegraf cannot be had here; the message says what to install."""


def fetch_telegraf() -> Path:
    """Return the program, building it the first time. Raises TelegrafMissing."""
    fetched = subprocess.run(
        [sys.executable, _SCRIPT], capture_output=True, text=True, check=False, timeout=_BUILD_WITHIN_S
    )
    if fetched.returncode:
        raise TelegrafMissing(fetched.stderr.strip().splitlines()[-1] if fetched.stderr.strip() else "")
    return Path(fetched.stdout.strip())


class Telegraf:
    """A running Telegraf that stores into a table of its own."""

    def __init__(
        self, site: Installation, process: subprocess.Popen[bytes], connection: asyncpg.Connection
    ) -> None:
        self._site, self._process, self._connection = site, process, connection
        self.pid = process.pid
        self.expected = 0

    def wait_for(self, more: int, within_s: float) -> float:
        """Wait until the table holds that many rows more; return when (microseconds of the epoch) it last grew.

        The table's size is cheap to ask for; rows are counted only once it stands still.
        """
        self.expected += more
        size, grown_at, deadline = -1, time.time(), time.monotonic() + within_s
        while True:
            now = self._ask(f"SELECT pg_relation_size('{FAMILY}')")
            if now != size:
                size, grown_at = now, time.time()
            elif time.time() - grown_at > _STILL_S and self.rows() >= self.expected:
                return grown_at * 1e6
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"Telegraf stored {self.rows()} of {self.expected} rows")
            time.sleep(_POLL_S)

    def rows(self) -> int:
        """Return how many rows the table holds."""
        return self._ask(f"SELECT count(*) FROM {FAMILY}")  # noqa: S608 - a constant

    def distinct_rows(self) -> int:
        """Return how many of them are different readings."""
        return self._ask(f"SELECT count(DISTINCT (device, datapoint, time)) FROM {FAMILY}")  # noqa: S608

    def _ask(self, query: str) -> int:
        found: int = self._site.run(self._connection.fetchval(query))
        return found


@contextmanager
def telegraf(site: Installation) -> Iterator[Telegraf]:
    """Run Telegraf on an installation's broker and database. Raises TelegrafMissing."""
    program = fetch_telegraf()
    site.execute(_TABLE)
    config = site.home.run / "telegraf.conf"
    config.write_text(_CONFIG, encoding="utf-8")
    with (site.home.logs / "telegraf.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config", config],
            env=_environment(site),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - it would reconnect for ever after us
        )
    connection = site.run(open_connection(site.dsn, application_name="benchmark"))
    try:
        yield Telegraf(site, process, connection)
    finally:
        site.run(connection.close())
        process.terminate()
        process.wait(30)


def _environment(site: Installation) -> dict[str, str]:
    """Secrets go by the environment, not into a file."""
    endpoints, dsn = site.endpoints, site.dsn
    return {
        "PATH": os.environ.get("PATH", ""),
        "MQTT_SERVER": f"{endpoints.service_host}:{endpoints.service_port}",
        "MQTT_USERNAME": endpoints.service_username,
        "MQTT_PASSWORD": endpoints.service_password_file.read_text(encoding="utf-8").strip(),
        "DATABASE": dsn.url,
        "PGPASSWORD": dsn.password.get_secret_value() if dsn.password is not None else "",
    }
