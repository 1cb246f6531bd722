"""What Kubernetes does after it was told, watched until it is done or cannot be."""

import asyncio

from iotistic.agent.engines.errors import ContainerNotFound, StartRefused
from iotistic.agent.engines.k3s.making import JOB
from iotistic.agent.engines.k3s.pulling import NOT_PULLED, meant
from iotistic.agent.engines.k3s.reading import Pod
from iotistic.agent.engines.k3s.sight import Sight, Workload
from iotistic.planning.model import Status

START_WITHIN_S = 45.0
"""Shorter than a step may take, so that there is time to put it back."""
_LOOK_EVERY_S = 0.2
_PATIENCE_S = 4.0
"""How long a pod may have no place: one that ends gives its ports back a moment late."""
_CANNOT_BEGIN = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CreatePodSandboxError",
)
_NEVER_BEGAN = ("StartError", "ContainerCannotRun", "ContainerStatusUnknown")


async def await_start(sight: Sight, container_id: str, within_s: float = START_WITHIN_S) -> None:
    """Wait until its process runs, or did.

    Raises StartRefused, ImageNotFound, ImageUnavailable when it cannot, and ContainerNotFound.
    """
    loop = asyncio.get_running_loop()
    began, pod = loop.time(), None
    while True:
        one = await sight.find(container_id)
        if one is None:
            raise ContainerNotFound(f"{container_id} is gone")
        if one.container.status is Status.RUNNING:
            return
        pod = _youngest(one)
        waited_s = loop.time() - began
        if pod is not None and _has_begun(one, pod, waited_s):
            return
        if waited_s > within_s:
            why = " ".join(word for word in pod.waiting if word) if pod is not None else "it got no pod"
            raise StartRefused(f"it did not begin within {within_s:.0f} s: {why}")
        await asyncio.sleep(_LOOK_EVERY_S)


async def await_end(sight: Sight, container_id: str) -> None:
    """Wait until no pod of it is left, however long; whoever calls gives up. A container that is gone has none."""
    while True:
        one = await sight.find(container_id)
        if one is None or all(pod.has_ended for pod in one.pods):
            return
        await asyncio.sleep(_LOOK_EVERY_S)


def _youngest(one: Workload) -> Pod | None:
    """Return the pod that was made last and is to stay."""
    staying = [pod for pod in one.pods if not pod.is_leaving and (one.kind is JOB or not pod.has_ended)]
    return max(staying, key=lambda pod: str(pod.document["metadata"].get("creationTimestamp")), default=None)


def _has_begun(one: Workload, pod: Pod, waited_s: float) -> bool:
    """Say whether its process began, even if it has ended by now. Raises what makes it never begin."""
    reason, message = pod.waiting
    if reason in NOT_PULLED:
        raise meant(one.container.config.image, message or reason)
    if reason in _CANNOT_BEGIN:
        raise StartRefused(message or reason)
    if pod.ended:
        if pod.ended.get("reason") in _NEVER_BEGAN:
            raise StartRefused(str(pod.ended.get("message") or pod.ended.get("reason")))
        return True
    if pod.has_no_place and waited_s > _PATIENCE_S:
        raise StartRefused(pod.has_no_place)
    return False
