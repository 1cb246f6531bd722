"""A real Redis of the test's own: with a password, on a port of its own, that can be killed and stopped."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iotistic.kernel.process import die_with_parent, pick_port
from iotistic.kernel.redis.settings import RedisSettings

PASSWORD = "the-password-of-the-test's-redis"
_WITHIN_S = 10


class RedisServer:
    """Debian's redis-server as a child process; what it holds goes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = pick_port(0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def settings(self, *, password: str = PASSWORD, timeout_ms: float = 200) -> RedisSettings:
        """Return settings for this server; the time-out is that of a machine that runs other tests too."""
        return RedisSettings(redis_url=self.url, redis_password=password, redis_timeout_ms=timeout_ms)

    def start(self) -> None:
        """Start it, empty; return when it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("redis-server is missing: `make test` installs it (apt-get install redis-server)")
        config = self._folder / "redis.conf"
        config.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass "{PASSWORD}"\nsave ""\nappendonly no\ndir {self._folder}\n'
        )
        self._process = subprocess.Popen(
            [program, config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  no thread of ours holds a lock
        )
        deadline = time.monotonic() + _WITHIN_S
        while self.command("PING") != "PONG":
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def command(self, *words: str) -> str:
        """Return what redis-cli prints."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *words],
            env=os.environ | {"REDISCLI_AUTH": PASSWORD},
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
        return done.stdout.strip()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Make it accept connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, in whatever state it is."""
        self.thaw()
        self.kill()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Return a running, empty Redis."""
    with tempfile.TemporaryDirectory(prefix="iotistic-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()
