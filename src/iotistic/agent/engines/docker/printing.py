"""What a container printed, as Docker kept it: a stream for each container that is followed."""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import suppress

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import part
from iotistic.agent.engines.docker.reading import Inspected
from iotistic.agent.engines.errors import ContainerNotFound, EngineUnavailable, StepRefused
from iotistic.agent.engines.lines import EngineSaid, FramedLines, PlainLines
from iotistic.agent.engines.port import LogLine

_GONE, _LEAVING = 404, 409
_OVERLAP_LINES = 64


async def read_logs(
    client: DockerClient, one: Inspected, *, since: float, follow: bool
) -> AsyncIterator[LogLine]:
    """Yield lines (see Engine.logs). The client is to have a connection to spare for as long as that takes."""
    last: deque[LogLine] = deque(maxlen=_OVERLAP_LINES)
    async for line in _read(client, one, since=since, follow=follow):
        last.append(line)
        yield line
    if follow:
        # Docker may end a stream before the container's last words are in it: what it wrote down has them.
        with suppress(ContainerNotFound):
            async for line in _after(client, one, last, since):
                yield line


async def _after(
    client: DockerClient, one: Inspected, last: deque[LogLine], since: float
) -> AsyncIterator[LogLine]:
    """Yield what was written down after the last lines that are known."""
    known = Counter(last)
    edge = last[0].at if len(last) == _OVERLAP_LINES else -1.0  # others of that moment were read before
    async for line in _read(client, one, since=last[0].at if last else since, follow=False):
        if known[line] > 0:
            known[line] -= 1
        elif line.at != edge:
            yield line


async def _read(
    client: DockerClient, one: Inspected, *, since: float, follow: bool
) -> AsyncIterator[LogLine]:
    # Only its own description says whether it has a terminal: Docker of old does not in the answer.
    lines = PlainLines() if part(one.document, "Config").get("Tty") else FramedLines()
    path, query = f"containers/{one.container.id}/logs", _wanted(since, follow=follow)
    try:
        async with client.open("GET", path, query=query) as response:
            async for chunk in response.content.iter_any():
                for line in lines.feed(chunk):
                    if line.at >= since:
                        yield line
    except Refused as exc:
        if exc.status in (_GONE, _LEAVING):
            raise ContainerNotFound(exc.message) from exc
        raise StepRefused(exc.message) from exc
    except EngineSaid as exc:
        raise EngineUnavailable(f"Docker cannot read the logs of {one.service_name}: {exc}") from exc
    for line in lines.end():
        yield line


def _wanted(since: float, *, follow: bool) -> dict[str, str]:
    wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
    return wanted | ({"since": f"{since:.6f}"} if since > 0 else {})
