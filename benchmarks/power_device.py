"""An agent as a process on a Docker of its own, that is killed at any moment and started again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.docker_server import DockerServer
from benchmarks.power_truth import Truth, image_of, release
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.files import write_atomic
from iotistic.kernel.process import die_with_parent

WITHIN_S = 90.0
_LOOK_S = 0.01
_WAITS_S = 1.0
_SERVE = 'echo "$VERSION" > /index.html; httpd -f -p 80 -h / & trap "kill $!; exit 0" TERM; wait'


class Unsettled(Unavailable):
    """The device did not become what it was to be."""

    code = "bench.unsettled"


class PowerDevice:
    """One agent process, one Docker. `start` it, declare releases, `cut` it."""

    def __init__(self, docker: DockerServer, folder: Path) -> None:
        self.docker, self._folder = docker, folder
        self._target = folder / "target.json"
        self._log = folder / "agent.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._truth = Truth(docker)

    def prepare(self) -> None:
        """Bring the images into the registry, deploy the first release, and write into the volume."""
        self.docker.start_open_registry()
        for version in ("0", "1"):
            command = f"CMD {json.dumps(['sh', '-c', _SERVE])}"
            self.docker.publish(image_of(int(version)), f"ENV VERSION={version}", command)
        self.declare()
        self.start()
        self.settle()
        self._truth.mark()

    def declare(self) -> None:
        """Write the next release down; an agent that runs takes it up at once."""
        self._number += 1
        write_atomic(self._target, json.dumps(release(self._number)))

    def start(self) -> None:
        """Start the agent."""
        words = [
            "agent",
            "run",
            str(self._target),
            "--data",
            str(self._folder / "data"),
            "--engine",
            "docker",
        ]
        environment = {
            **os.environ,
            "DOCKER_SOCKET": str(self.docker.socket),
            "IOTISTIC_HOME": str(self._folder / "home"),
            "LOG_FORMAT": "json",
        }
        self._log.write_bytes(b"")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "iotistic", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  no thread of ours holds a lock
            )

    def cut(self) -> set[str]:
        """End the agent as a power cut does; return the names of the steps that were under way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        return {event["step"] for event in self._under_way()}

    def until_working_or_settled(self, steps: int = 1) -> None:
        """Wait until so many steps were begun, or all is done. Raises Unsettled."""

        def met() -> bool:
            seen = [event["event"] for event in self._events()]
            return seen.count("step.started") >= steps or self._has_nothing_to_do()

        self._until(met)

    def pause(self, seconds: float) -> None:
        """Let the agent work."""
        time.sleep(seconds)

    def forget_log(self) -> None:
        """Begin a new log, so that what follows is seen alone."""
        os.truncate(self._log, 0)

    def settle(self) -> float:
        """Wait until all is as declared; return the seconds since the call. Raises Unsettled with what is wrong."""
        began = time.monotonic()
        found = ["the agent says nothing"]

        def is_right() -> bool:
            nonlocal found
            if not self._is_at_rest():
                return False
            found = list(self.faults())
            if found:
                time.sleep(_WAITS_S / 10)
            return not found

        try:
            self._until(is_right)
        except Unsettled as exc:
            raise Unsettled(f"{'; '.join(found)}\n{self.last_words()}") from exc
        return time.monotonic() - began

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the device, for a person to read."""
        return self._truth.faults(self._number)

    def until_one_image(self) -> float:
        """Wait until the image of the release before is gone; return the seconds. Raises Unsettled.

        It stays for a minute if that release was good, which is how long the new one takes to be.
        """
        began = time.monotonic()
        self._until(lambda: self._truth.images() == {image_of(self._number)})
        return time.monotonic() - began

    def failures(self) -> list[str]:
        """Return what the agent could not do at once since it was started."""
        failed = [event for event in self._events() if event["event"] == "step.failed"]
        return [f"{event['step']}: {event['reason']}" for event in failed]

    def kill_docker(self) -> None:
        """End Docker and all containers as a crash does, and start it again with what is on its disk."""
        self.docker.kill()
        self.docker.launch()
        self.docker.start_open_registry()

    def last_words(self) -> str:
        """Return the end of the agent's log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def stop(self) -> None:
        """End the agent."""
        self.cut()

    def _has_nothing_to_do(self) -> bool:
        last = list(self._events())[-1:]
        return any(event["event"] == "device.settled" and not event["waiting"] for event in last)

    def _is_at_rest(self) -> bool:
        said = [event for event in self._events() if event["event"] in ("device.settled", "step.started")]
        return bool(said) and said[-1]["event"] == "device.settled"

    def _under_way(self) -> list[dict[str, Any]]:
        """Return the steps that were started and not ended."""
        open_steps: dict[tuple[str, str], dict[str, Any]] = {}
        for event in self._events():
            if event["event"] in ("step.started", "step.done", "step.failed"):
                key = event["step"], event["subject"]
                if event["event"] == "step.started":
                    open_steps[key] = event
                else:
                    open_steps.pop(key, None)
        return list(open_steps.values())

    def _events(self) -> Iterator[dict[str, Any]]:
        for line in self._log.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def _until(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not met():
            if time.monotonic() > deadline:
                raise Unsettled(self.last_words())
            if self._process is not None and self._process.poll() is not None:
                raise Unsettled(f"the agent ended by itself\n{self.last_words()}")
            time.sleep(_LOOK_S)
