"""Starts agents as processes, and ends them."""

import contextlib
import json
import select
import subprocess
import sys
import time
from pathlib import Path

_PROGRAM = Path(__file__).with_name("device_process.py")
_WITHIN_S = 30.0


class AgentProcess:
    def __init__(self, process, url):
        self.process, self.url = process, url

    def kill(self):
        self.process.kill()
        self.process.wait(_WITHIN_S)


@contextlib.contextmanager
def agent_process(folder, *arguments):
    """Yield an agent that answers; it is killed at the end."""
    with (folder.parent / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(folder), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            ready, _, _ = select.select([process.stdout], [], [], _WITHIN_S)
            assert ready, (folder.parent / "agent.log").read_text()[-3000:]
            line = process.stdout.readline()
            assert line, (folder.parent / "agent.log").read_text()[-3000:]
            yield AgentProcess(process, json.loads(line)["url"])
        finally:
            process.kill()
            process.wait(_WITHIN_S)
            process.stdout.close()


def until(met, within_s=_WITHIN_S):
    """Wait for something, and return it."""
    deadline = time.monotonic() + within_s
    while not (found := met()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
