"""Debian's redis-server as a child process, with a password, on a port of its own, that can be killed and stopped."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from pydantic import SecretStr

from iotistic.kernel.errors import Unavailable
from iotistic.kernel.process import die_with_parent, pick_port
from iotistic.kernel.redis.settings import RedisSettings

PASSWORD = "the-password-of-the-test's-redis"  # noqa: S105  a throwaway server on the loopback interface
_WITHIN_S = 10


class RedisMissing(Unavailable):
    """redis-server cannot be run here: `make test` installs it (apt-get install redis-server)."""


class RedisServer:
    """What it holds goes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = pick_port(0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value of REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}"

    def settings(self, *, password: str = PASSWORD, timeout_ms: float = 200) -> RedisSettings:
        """Return settings for this server; the time-out is that of a machine that runs other tests too."""
        return RedisSettings(
            redis_url=self.url, redis_password=SecretStr(password), redis_timeout_ms=timeout_ms
        )

    def start(self) -> None:
        """Start it, empty; return when it answers. Raises RedisMissing."""
        self.launch()
        deadline = time.monotonic() + _WITHIN_S
        while self.command("PING") != "PONG":
            if time.monotonic() > deadline:
                raise RedisMissing("redis-server did not start")
            time.sleep(0.02)

    def launch(self) -> None:
        """Start it, empty, and wait for nothing. Raises RedisMissing."""
        program = shutil.which("redis-server")
        if program is None:
            raise RedisMissing
        config = self._folder / "redis.conf"
        config.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass "{PASSWORD}"\nsave ""\nappendonly no\ndir {self._folder}\n',
            encoding="utf-8",
        )
        self._process = subprocess.Popen(
            [program, config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  no thread of ours holds a lock
        )

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
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Make it accept connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, in whatever state it is."""
        self.thaw()
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
