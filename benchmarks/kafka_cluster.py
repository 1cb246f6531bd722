"""Kafka as child processes (KRaft, no ZooKeeper), for benchmarks and tests; an installation brings its own."""

import base64
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.process import die_with_parent, pick_port

_ROOT = Path(__file__).parent.parent
_UP_WITHIN_S = 60.0
_POLL_S = 0.1
_ATTEMPTS = 3
_HEAP_MIB = 256
# A short-lived broker of a small heap gains nothing from the second compiler and the parallel collector.
_TEST_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_BENCH_OPTIONS = ("-XX:+UseG1GC",)

_CONFIG = """\
process.roles=broker,controller
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=16777216
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class KafkaMissing(Unavailable):
    """Kafka cannot be run here; the message says what to install."""


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars, downloading them the first time. Raises KafkaMissing."""
    if shutil.which("java") is None:
        raise KafkaMissing("there is no java to run Kafka with: apt-get install openjdk-17-jre-headless")
    script = [sys.executable, _ROOT / "scripts" / "fetch_kafka.py"]
    fetched = subprocess.run(script, capture_output=True, text=True, check=False, timeout=600)
    if fetched.returncode:
        raise KafkaMissing(fetched.stderr.strip() or "Kafka could not be downloaded")
    return Path(fetched.stdout.strip())


class KafkaNode:
    """One broker, which is a controller too."""

    def __init__(self, folder: Path, jars: Path, config: str, *, port: int, fast: bool) -> None:
        folder.mkdir(parents=True)
        self.port, self._folder, self._jars = port, folder, jars
        self._options = _BENCH_OPTIONS if fast else _TEST_OPTIONS
        self._config = folder / "server.properties"
        self._config.write_text(config, encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the broker said last."""
        path = self._folder / "kafka.log"
        return path.read_text(encoding="utf-8", errors="replace")[-4000:] if path.exists() else ""

    @property
    def runs(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def format(self, cluster_id: str) -> "subprocess.Popen[bytes]":
        """Begin to make the data folder one of this cluster."""
        return self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._config))

    def start(self) -> None:
        """Start; `KafkaCluster.wait` says when it can be used."""
        self.process = self._java("kafka.Kafka", str(self._config))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the broker and wait until it has gone."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "kafka.log").open("ab") as log:
            return subprocess.Popen(
                [
                    "java",
                    f"-Xmx{_HEAP_MIB}m",
                    *self._options,
                    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                    "-cp",
                    f"{self._jars}/*",
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  nothing may outlive a test run
            )


class KafkaCluster:
    """Brokers on free ports of the loopback interface, with their data in `folder`."""

    def __init__(self, folder: Path, *, nodes: int = 1, fast: bool = False) -> None:
        self._folder, self._count, self._fast = folder, nodes, fast
        self._jars = kafka_jars()
        self.nodes: list[KafkaNode] = []

    def _lay_out(self, folder: Path) -> list[KafkaNode]:
        ports = [pick_port(0) for _ in range(2 * self._count)]
        brokers, controllers = ports[: self._count], ports[self._count :]
        voters = ",".join(f"{i + 1}@127.0.0.1:{port}" for i, port in enumerate(controllers))
        return [
            KafkaNode(
                folder / f"node-{i + 1}",
                self._jars,
                _CONFIG.format(
                    node=i + 1,
                    port=port,
                    controller=controllers[i],
                    voters=voters,
                    folder=folder / f"node-{i + 1}" / "data",
                    replicas=min(self._count, 3),
                ),
                port=port,
                fast=self._fast,
            )
            for i, port in enumerate(brokers)
        ]

    @property
    def servers(self) -> str:
        """The value of KAFKA_BOOTSTRAP_SERVERS."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all nodes and wait for them. Raises KafkaMissing."""
        for attempt in range(_ATTEMPTS):
            self.nodes = self._lay_out(self._folder / str(attempt))
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            for formatting in [node.format(cluster_id) for node in self.nodes]:
                formatting.wait(_UP_WITHIN_S)
            for node in self.nodes:
                node.start()
            try:
                return self.wait()
            except KafkaMissing:
                # Kafka listens seconds after its ports were chosen; somebody may have taken one meanwhile.
                if attempt == _ATTEMPTS - 1 or all(node.runs for node in self.nodes):
                    raise
                self.stop()
        return None

    def wait(self) -> None:
        """Return when every broker that runs is part of the cluster. Raises KafkaMissing."""
        running = sum(node.process is not None for node in self.nodes)
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0}, logger=_Silent())
        deadline = time.monotonic() + _UP_WITHIN_S
        while _brokers(admin) < running:
            if time.monotonic() > deadline or any(node.process and not node.runs for node in self.nodes):
                logs = "\n".join(node.log for node in self.nodes)
                raise KafkaMissing(f"Kafka did not start:\n{logs}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            node.kill()


def _brokers(admin: AdminClient) -> int:
    try:
        return len(admin.list_topics(timeout=1).brokers)
    except KafkaException:
        return 0


class _Silent:
    """A logger for librdkafka, which complains on standard error about every broker that is not up yet."""

    def log(self, *_arguments: object) -> None:
        """Say nothing."""


def java(*arguments: str, jars: Path) -> list[str]:
    """Return the command line of one of Kafka's own tools."""
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    return ["java", f"-Xmx{_HEAP_MIB}m", quiet, "-cp", f"{jars}/*", *arguments]
