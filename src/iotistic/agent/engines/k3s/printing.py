"""What a container printed, as its kubelet kept it.

Kubernetes mixes stdout and stderr, and keeps what was printed as long as the pod: a service that was stopped, or
changed, has no logs of before.
"""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from iotistic.agent.engines.errors import StepRefused
from iotistic.agent.engines.k3s.client import NOT_FOUND, KubeClient, Refused
from iotistic.agent.engines.k3s.reading import Pod
from iotistic.agent.engines.k3s.template import CONTAINER
from iotistic.agent.engines.lines import PlainLines
from iotistic.agent.engines.port import LogLine

_NOT_YET = 400


async def read_logs(client: KubeClient, path: str, *, since: float, follow: bool) -> AsyncGenerator[LogLine]:
    """Yield the lines of the pod at `path` (see Engine.logs)."""
    lines, query = PlainLines(), _wanted(since, follow=follow)
    try:
        async with client.stream(f"{path}/log", query) as response:
            async for chunk in response.content.iter_any():
                for line in lines.feed(chunk):
                    if line.at >= since:
                        yield line
    except Refused as exc:
        if exc.status in (NOT_FOUND, _NOT_YET):
            return  # it has printed nothing yet, or is gone by now
        raise StepRefused(exc.message) from exc
    for line in lines.end():
        yield line


def speaking(pods: list[Pod]) -> Pod | None:
    """Return the pod that prints, or did last."""
    with_words = [pod for pod in pods if pod.started_at]
    return max(with_words, key=lambda pod: (pod.running is not None, pod.started_at), default=None)


def _wanted(since: float, *, follow: bool) -> dict[str, str]:
    wanted = {"container": CONTAINER, "timestamps": "true", "follow": "true" if follow else "false"}
    if since <= 0:
        return wanted
    whole = datetime.fromtimestamp(int(since), UTC)  # more exact is not understood
    return wanted | {"sinceTime": f"{whole:%Y-%m-%dT%H:%M:%SZ}"}
