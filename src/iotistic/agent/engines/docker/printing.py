"""What a container printed, as Docker kept it: a stream for each container that is followed."""

from collections.abc import AsyncIterator

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import part
from iotistic.agent.engines.docker.reading import Inspected
from iotistic.agent.engines.errors import ContainerNotFound, EngineUnavailable, StepRefused
from iotistic.agent.engines.lines import EngineSaid, FramedLines, PlainLines
from iotistic.agent.engines.port import LogLine

_GONE, _LEAVING = 404, 409


async def read_logs(
    client: DockerClient, one: Inspected, *, since: float, follow: bool
) -> AsyncIterator[LogLine]:
    """Yield lines (see Engine.logs). The client is to have a connection to spare for as long as that takes."""
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
